#include "track/linux/context.h"

#include "track/linux/esr.h"

#if defined(__x86_64__)
/* The page fault's error code (Intel SDM vol. 3A, 4.7). */
static bool has_bit(const void *context, int bit)
{
    return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & bit;
}

bool hl_context_is_write(const void *context, uintptr_t addr)
{
    (void)addr;
    return has_bit(context, 2);
}

bool hl_context_is_present(const void *context) { return has_bit(context, 1); }

/* The kernel puts the context right above the return address. */
bool hl_context_is_from_kernel(const void *context, const void *frame,
                               const void *caller)
{
    (void)caller;
    return (const char *)context - (const char *)frame == 16;
}

#elif defined(__aarch64__)
static bool find_esr(const void *context, uint64_t *esr)
{
    const mcontext_t *m = &((const ucontext_t *)context)->uc_mcontext;

    return hl_esr_find(m->__reserved, sizeof m->__reserved, esr);
}

/* Without a record: an access to a page that can be read, as can_be_read in
 * fault.c makes sure, fails if it writes the page or executes it. */
bool hl_context_is_write(const void *context, uintptr_t addr)
{
    uint64_t esr;

    if (find_esr(context, &esr))
        return hl_esr_is_write(esr);
    return ((const ucontext_t *)context)->uc_mcontext.pc != addr;
}

bool hl_context_is_present(const void *context)
{
    uint64_t esr;

    return find_esr(context, &esr) && hl_esr_is_present(esr);
}

/* The frame's size depends on the processor, but a handler called by the
 * kernel returns to `mov x8, #__NR_rt_sigreturn; svc #0`, in the vDSO or in
 * the C library.  Unwinders know it by these two instructions, too. */
bool hl_context_is_from_kernel(const void *context, const void *frame,
                               const void *caller)
{
    static const uint32_t back[] = {0xd2801168, 0xd4000001};

    (void)context;
    (void)frame;
    return memcmp(caller, back, sizeof back) == 0;
}

#else
bool hl_context_is_write(const void *context, uintptr_t addr)
{
    (void)context;
    (void)addr;
    return true;
}

bool hl_context_is_present(const void *context)
{
    (void)context;
    return false;
}

bool hl_context_is_from_kernel(const void *context, const void *frame,
                               const void *caller)
{
    (void)context;
    (void)frame;
    (void)caller;
    return false;
}
#endif
