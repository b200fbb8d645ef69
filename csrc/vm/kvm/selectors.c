/* Segment selectors of the thread that runs a guest.
 *
 * A KVM without hardware help may run a guest's own code with the processor's
 * DS, ES, FS and GS as the thread has them, and leave behind there what the
 * guest loads: the next guest of this thread could read it, and so could the
 * host.  With hardware help they are switched with the guest, and nothing here
 * ever finds a difference.  Reading all four takes 2 ns.
 *
 * In 64-bit mode selectors are 0 in a program that does not change them. */
#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm/kvm/machine.h"

uint64_t hl_kvm_selectors(void)
{
    uint32_t ds, es, fs, gs;

    __asm__ volatile("mov %%ds, %0" : "=r"(ds));
    __asm__ volatile("mov %%es, %0" : "=r"(es));
    __asm__ volatile("mov %%fs, %0" : "=r"(fs));
    __asm__ volatile("mov %%gs, %0" : "=r"(gs));
    return (uint64_t)(uint16_t)ds | (uint64_t)(uint16_t)es << 16 |
           (uint64_t)(uint16_t)fs << 32 | (uint64_t)(uint16_t)gs << 48;
}

static uint32_t part(uint64_t selectors, int i)
{
    return selectors >> (16 * i) & 0xffff;
}

/* Loading FS or GS changes its base, too.  arch_prctl(2) sets a base and makes
 * the selector 0 in one step, so that no signal handler runs without its
 * thread-local data; a program that had another selector there is left with
 * what works. */
static void zero_selector(int get, int set)
{
    unsigned long base;

    if (syscall(SYS_arch_prctl, get, &base) == 0)
        (void)syscall(SYS_arch_prctl, set, base);
}

void hl_kvm_put_back_selectors(uint64_t before, uint64_t now)
{
    if (before == now)
        return;
    if (part(before, 0) != part(now, 0))
        __asm__ volatile("mov %0, %%ds" : : "r"(part(before, 0)));
    if (part(before, 1) != part(now, 1))
        __asm__ volatile("mov %0, %%es" : : "r"(part(before, 1)));
    if (part(before, 2) != part(now, 2))
        zero_selector(ARCH_GET_FS, ARCH_SET_FS);
    if (part(before, 3) != part(now, 3))
        zero_selector(ARCH_GET_GS, ARCH_SET_GS);
}
