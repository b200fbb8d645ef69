/* Ring entries without a guest's write.
 *
 * KVM writes the time into guest memory when the host sets the MSR of the
 * paravirtual wall clock (Documentation/virt/kvm/x86/msr.rst), in three
 * writes, and each adds an entry, whether or not the page has one.  Some 6 us
 * a call; one call may set the MSR many times. */
#include <string.h>
#include <sys/ioctl.h>

#include "vm/kvm/ring.h"

#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00
#define SIZE_OF_WALL_CLOCK 12 /* struct pvclock_wall_clock */
#define WRITES 3              /* of KVM's, for each time that it is set */

/* For the first page of this slot, whose bytes stay as they are. */
static void add_entries(struct hl_kvm *k, size_t slot)
{
    const struct hl_vm_slot *s = &k->config.slots[slot];
    char bytes[SIZE_OF_WALL_CLOCK];
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[HL_KVM_SPARE / WRITES];
    } msrs = {.head.nmsrs = HL_KVM_SPARE / WRITES};

    for (size_t i = 0; i < HL_ARRAY_SIZE(msrs.entries); i++)
        msrs.entries[i] = (struct kvm_msr_entry){
            .index = MSR_KVM_WALL_CLOCK_NEW, .data = s->addr};
    /* No guest runs, so nobody sees the time: the bytes are as they were. */
    memcpy(bytes, s->host, sizeof bytes);
    (void)ioctl(k->cpu_fd, KVM_SET_MSRS, &msrs);
    memcpy(s->host, bytes, sizeof bytes);
}

void hl_kvm_ring_make_spare(struct hl_kvm_ring *r)
{
    const struct hl_vm_config *config = &r->kvm->config;
    size_t slot = 0, made = 0;

    while (slot < config->slot_count && !config->slots[slot].logged)
        slot++;
    if (r->no_spare || slot == config->slot_count ||
        hl_kvm_ring_harvest(r) < 0 || r->lost ||
        r->next - r->taken + HL_KVM_SPARE + HL_KVM_RING_RESERVED > r->size)
        return;
    add_entries(r->kvm, slot);
    for (; made < HL_KVM_SPARE && hl_kvm_ring_is_new(r, r->next); made++)
        r->next++;
    r->no_spare = made == 0;
}
