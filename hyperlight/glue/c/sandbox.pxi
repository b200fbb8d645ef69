# csrc/turn, csrc/sandbox, csrc/batch.

cdef extern from "turn.h" nogil:
    cdef enum hl_state:
        HL_READY, HL_POISONED, HL_CALL, HL_WORK, HL_CLOSED
    struct hl_turn:
        pass
    hl_state hl_turn_state(const hl_turn *turn)
    bint hl_turn_is_mine(const hl_turn *turn)
    bint hl_turn_is_forked(const hl_turn *turn)
    void hl_turn_queue(hl_turn *turn)
    void hl_turn_unqueue(hl_turn *turn)
    void hl_turn_wait(hl_turn *turn)

cdef extern from "os/wait.h" nogil:
    uint64_t hl_now()

cdef extern from "machine.h" nogil:
    struct hl_machine_slot:
        uint64_t addr, size
        bint logged
    size_t hl_machine_drop_blanks()
    size_t hl_machine_blanks()

cdef extern from "sandbox.h" nogil:
    struct hl_sandbox:
        pass
    struct hl_sandbox_config:
        const hl_driver_ops *driver
        const char *tracker
        const char *abi
        bint adaptive
        hl_machine_slot slots[HL_VM_SLOTS]
        size_t slot_count
        hl_x86_region regions[HL_X86_REGIONS]
        size_t region_count
        hl_span tables
        hl_abi_config guest
    int hl_sandbox_new(const hl_sandbox_config *config, hl_sandbox **out,
                       hl_choice *choice, char *why)
    hl_sandbox *hl_sandbox_ref(hl_sandbox *sandbox)
    void hl_sandbox_unref(hl_sandbox *sandbox)
    void hl_sandbox_close(hl_sandbox *sandbox)
    bint hl_sandbox_is_closed(const hl_sandbox *sandbox)
    int hl_sandbox_enter(hl_sandbox *sandbox, hl_state wanted, bint waits)
    void hl_sandbox_leave(hl_sandbox *sandbox)
    hl_turn *hl_sandbox_turn(hl_sandbox *sandbox)
    hl_abi *hl_sandbox_abi(hl_sandbox *sandbox)
    void hl_sandbox_set_deadline(hl_sandbox *sandbox, uint64_t deadline)
    int hl_sandbox_begin(hl_sandbox *sandbox)
    int hl_sandbox_run(hl_sandbox *sandbox, hl_exit *exit, hl_left *left)
    void hl_sandbox_end(hl_sandbox *sandbox)
    int hl_sandbox_bake(hl_sandbox *sandbox, char *why)
    void hl_sandbox_interrupt(hl_sandbox *sandbox)
    size_t hl_sandbox_peek(const hl_sandbox *sandbox, uint64_t addr, void *to,
                           size_t size)
    size_t hl_sandbox_state_size(const hl_sandbox *sandbox)
    int hl_sandbox_take(hl_sandbox *sandbox, hl_snapshot **out, void *state)
    int hl_sandbox_restore(hl_sandbox *sandbox, hl_snapshot *snapshot,
                           const void *state, hl_applied *done)
    hl_manager *hl_sandbox_manager(hl_sandbox *sandbox)
    size_t hl_sandbox_count()

cdef extern from "batch.h" nogil:
    struct hl_batch_config:
        const void *name
        size_t name_size
        hl_type result
        uint64_t limit
        bint goes_on
        hl_snapshot *snapshot
        const void *state
    struct hl_batch_result:
        hl_message_kind kind
        hl_wire_value values[2]
    struct hl_batch:
        hl_sandbox *sandbox
    int hl_batch_begin(hl_batch *batch, hl_sandbox *sandbox,
                       const hl_batch_config *config)
    int hl_batch_end(hl_batch *batch)
    void hl_batch_free(hl_batch *batch)
    hl_wire_writer *hl_batch_write(hl_batch *batch)
    bint hl_batch_add(hl_batch *batch)
    int hl_batch_run(hl_batch *batch, hl_exit *exit, hl_left *left)
    void hl_batch_pass_over(hl_batch *batch)
    const hl_batch_result *hl_batch_take(hl_batch *batch)
