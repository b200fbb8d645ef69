# The GIL in calls of csrc, by the rule of os/others.h: a call is made with it,
# between gil_wanted() and gil_back(), gives it away itself where it turns out
# to be long, and has it back afterwards. Such a call is one for Python, too:
# no code but C's runs in it. What always takes long is `with nogil`.

cdef extern from *:
    """
    #include "os/others.h"
    static _Thread_local PyThreadState *hl_away;
    static void hl_give_away(void) { hl_away = PyEval_SaveThread(); }
    static inline void hl_gil_wanted(void) { hl_others_wait(hl_give_away); }
    static inline void hl_gil_back(void)
    {
        if (hl_others_ran())
            PyEval_RestoreThread(hl_away);
    }
    """
    void gil_wanted "hl_gil_wanted"() noexcept
    void gil_back "hl_gil_back"() noexcept
    void hl_spend(uint64_t ns) nogil
    void hl_let_others_run() nogil
    size_t hl_others_times() nogil
    const uint64_t HL_PATIENCE_NS


cdef inline void gil_wanted_for_copy(size_t size) noexcept:
    """gil_wanted, for a copy or a filling of so many bytes."""
    gil_wanted()
    hl_spend(size >> 4)


cdef inline bint is_pythons(owner) noexcept:
    """Its bytes are in Python's own memory, and as much there as all of it."""
    return (PyBytes_CheckExact(owner) or PyUnicode_CheckExact(owner)
            or PyByteArray_CheckExact(owner))


cdef inline void others_may_provide(owner, const void *data,
                                    size_t size) noexcept:
    """After gil_wanted_for_copy, of an object's own bytes.

    They may come from a thread that waits for the GIL: from its own file
    system, or its own userfaultfd.
    """
    if size >> 4 > HL_PATIENCE_NS:  # given away already
        return
    if not is_pythons(owner) and not hl_is_in_memory(data, size):
        hl_let_others_run()


def times_given_away():
    """How often calls of this thread gave the GIL away, for tests."""
    return hl_others_times()
