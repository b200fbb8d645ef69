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
        HL_LEFT_TIMEOUT, HL_LEFT_BROKEN, HL_LEFT_EXITED, HL_LEFT_LIMIT
        HL_LEFT_ASKS, HL_LEFT_OUTPUT
    struct hl_span:
        uint64_t addr, size
    struct hl_image:
        const void *file
        size_t file_size
        const hl_elf *elf
        uint64_t base
    struct hl_start:
        const char *texts
        size_t size, argument_count, variable_count
    struct hl_abi_config:
        hl_image image
        hl_span thread, stack, heap, input, output, kernel
        hl_image interpreter
        hl_start start
    struct hl_abi_ops:
        const char *name
        hl_call *(*messages)(hl_abi *abi) noexcept nogil
    struct hl_abi:
        const hl_abi_ops *ops
    const hl_abi_ops *const hl_abis[]
    const size_t hl_abi_count

cdef extern from "abi/linux/numbers.h" nogil:
    const char *hl_linux_call_name(uint64_t number)

cdef extern from "abi/linux/linux.h" nogil:
    enum:
        HL_LINUX_CALLS, HL_LINUX_FILES, HL_TREE_ROOT
    cdef enum hl_tree_kind:
        HL_TREE_FOLDER, HL_TREE_FILE, HL_TREE_LINK
    cdef enum hl_linux_end:
        HL_LINUX_RUNS, HL_LINUX_EXITED, HL_LINUX_SIGNALLED
    cdef enum hl_linux_limit:
        HL_LINUX_NO_LIMIT, HL_LINUX_OUTPUT_LIMIT, HL_LINUX_CALLS_LIMIT
    struct hl_linux:
        pass
    struct hl_linux_ask:
        uint32_t node, source
    struct hl_linux_settings:
        size_t output
        uint64_t calls
        uint32_t files
        bint streams
    struct hl_linux_given:
        const char *name
        size_t name_size
        hl_tree_kind kind
        uint32_t mode
        uint64_t changed, size
        uint32_t source
        bint fixed
    size_t hl_linux_kernel_size(size_t file_pages)
    hl_linux *hl_linux_of(hl_abi *abi)
    void hl_linux_set(hl_linux *l, const hl_linux_settings *settings)
    int hl_linux_work_in(hl_linux *l, uint32_t node)
    void hl_linux_set_input(hl_linux *l, const void *bytes, size_t size)
    void hl_linux_freeze_time(hl_linux *l, uint64_t time)
    void hl_linux_request(hl_linux *l, const void *request, size_t size)
    const char *hl_linux_said(const hl_linux *l, int which, size_t *size)
    void hl_linux_drop_output(hl_linux *l)
    hl_linux_end hl_linux_ended(const hl_linux *l, int *number)
    hl_linux_limit hl_linux_limit_of(const hl_linux *l)
    hl_linux_ask hl_linux_asked(const hl_linux *l)
    uint32_t hl_linux_refused(const hl_linux *l, size_t number)
    uint64_t hl_linux_calls_made(const hl_linux *l)
    int hl_linux_give(hl_linux *l, uint32_t folder,
                      const hl_linux_given *given, uint32_t *out)
    int hl_linux_give_bytes(hl_linux *l, uint32_t node, const void *bytes,
                            size_t size)
    int hl_linux_give_copy(hl_linux *l, uint32_t node, const void *bytes,
                           size_t size)
    void hl_linux_answer(hl_linux *l, int err, bint again)
