# csrc/abi: what guests speak.

cdef extern from "guest/abi.h" nogil:
    enum:
        HL_ERROR_NO_FUNCTION, HL_ERROR_ARGUMENTS, HL_ERROR_HOST
    struct hl_message:
        pass
    cdef enum hl_message_kind:
        HL_MESSAGE_CALL
        HL_MESSAGE_RESULT
        HL_MESSAGE_ERROR
        HL_MESSAGE_LOG
        HL_MESSAGE_FUNCTIONS
    cdef enum hl_type:
        HL_NONE, HL_I32, HL_I64, HL_U32, HL_U64, HL_F32, HL_F64, HL_BOOL
        HL_STR, HL_BYTES, HL_TYPES

cdef extern from "abi/native/wire.h" nogil:
    struct hl_wire_writer:
        char *at
    struct hl_wire_reader:
        uint32_t result
    struct hl_wire_value:
        hl_type type
        uint64_t bits
        const char *data
    void hl_wire_begin(hl_wire_writer *w, void *buffer, size_t size)
    int hl_wire_put(hl_wire_writer *w, hl_type type, uint64_t bits)
    void *hl_wire_put_room(hl_wire_writer *w, hl_type type, size_t size)

cdef extern from "abi/native/call.h" nogil:
    enum:
        HL_REPLY_ROOM
    struct hl_call:
        hl_wire_writer writer
        hl_wire_reader reader
        hl_message_kind kind
        const char *wrong
    void hl_call_nothing(hl_call *call)
    int hl_call_begin(hl_call *call, const void *name, size_t size)
    int hl_call_end(hl_call *call)
    void hl_call_reply(hl_call *call)
    int hl_call_replied(hl_call *call, hl_message_kind kind)
    int hl_call_open(hl_call *call, hl_message_kind kind)
    int hl_call_next(hl_call *call, hl_wire_value *value)
    int hl_call_open_result(hl_call *call, hl_type type)

cdef extern from "abi/abi.h" nogil:
    cdef enum hl_left:
        HL_LEFT_READY, HL_LEFT_HOST_CALL, HL_LEFT_LOG, HL_LEFT_ABORT
        HL_LEFT_KICKED, HL_LEFT_EXCEPTION, HL_LEFT_INTERRUPTED
        HL_LEFT_TIMEOUT, HL_LEFT_BROKEN
    struct hl_span:
        uint64_t addr, size
    struct hl_image:
        const void *file
        size_t file_size
        const hl_elf *elf
        uint64_t base
    struct hl_abi_config:
        hl_image image
        hl_span thread, stack, heap, input, output
    struct hl_abi_ops:
        const char *name
        hl_call *(*messages)(hl_abi *abi) noexcept nogil
    struct hl_abi:
        const hl_abi_ops *ops
    const hl_abi_ops *const hl_abis[]
    const size_t hl_abi_count
