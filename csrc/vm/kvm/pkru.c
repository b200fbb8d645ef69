/* PKRU: what a thread may do to pages of each protection key (SDM vol. 3,
 * 4.6.2).
 *
 * With CR4.PKE at 0 a guest can neither read nor write it.  But a KVM without
 * hardware help may run a guest with the host's CR4: then the guest can change
 * PKRU, and neither KVM_SET_SREGS nor XCR0 prevents that.  Whether it can is
 * only found by trying. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm/kvm/machine.h"

#define COMPONENT (UINT64_C(1) << 9) /* of XCR0 and XSTATE_BV */
#define XSTATE_BV 512                /* of the XSAVE area */
uint32_t hl_kvm_pkru(const struct hl_kvm *k, const struct kvm_xsave *from)
{
    const char *area = (const char *)from;
    uint64_t components;
    uint32_t value = 0; /* of its first state */

    memcpy(&components, area + XSTATE_BV, sizeof components);
    if (k->pkru_at && components & COMPONENT)
        memcpy(&value, area + k->pkru_at, sizeof value);
    return value;
}

/* KVM_SET_XSAVE leaves it alone where its component is in its first state. */
void hl_kvm_put_pkru(const struct hl_kvm *k, struct kvm_xsave *to,
                     uint32_t value)
{
    char *area = (char *)to;
    uint64_t components;

    if (!k->has_pkru || !k->pkru_at)
        return;
    memcpy(&components, area + XSTATE_BV, sizeof components);
    components |= COMPONENT;
    memcpy(area + XSTATE_BV, &components, sizeof components);
    memcpy(area + k->pkru_at, &value, sizeof value);
}
