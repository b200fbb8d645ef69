/* Making and ending machines. */
#include <stdlib.h>
#include <string.h>

#include "vm/whp/machine.h"

/* That there are now. */
static atomic_size_t partitions;

/* There were times when a process could have memory in one partition only;
 * whether there still are is not documented. */
static void put_in_words(char *why, const struct hl_whp_step *step)
{
    (void)hl_why(why, 0, "%s: error %#lx%s", step->what,
                 (unsigned long)step->result,
                 atomic_load(&partitions) > 1
                     ? "; Windows may refuse a second sandbox in a process"
                     : "");
}

void hl_whp_destroy(struct hl_vm *vm)
{
    struct hl_whp *m = hl_whp_of(vm);

    hl_whp_kick_free(m);
    if (m->partition != NULL) {
        (void)m->calls->delete_partition(m->partition);
        atomic_fetch_sub(&partitions, 1);
    }
    free(m);
}

/* One vCPU, and no interrupt controller. */
static int set_up(struct hl_whp *m, struct hl_whp_step *step)
{
    const UINT32 count = 1;
    const struct hl_whp_calls *c = m->calls;

    int err = hl_whp_note(step, "WHvCreatePartition",
                          c->create_partition(&m->partition));
    if (err == 0)
        atomic_fetch_add(&partitions, 1);
    if (err == 0)
        err =
            hl_whp_note(step, "WHvSetPartitionProperty",
                        c->set_property(m->partition,
                                        WHvPartitionPropertyCodeProcessorCount,
                                        &count, sizeof count));
    if (err == 0)
        err = hl_whp_note(step, "WHvSetupPartition",
                          c->setup_partition(m->partition));
    if (err == 0)
        err = hl_whp_note(step, "WHvCreateVirtualProcessor",
                          c->create_cpu(m->partition, 0, 0));
    return err;
}

static HRESULT map(const struct hl_whp *m, const struct hl_vm_slot *slot,
                   WHV_MAP_GPA_RANGE_FLAGS more)
{
    return m->calls->map(m->partition, slot->host, slot->addr, slot->size,
                         WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagWrite |
                             WHvMapGpaRangeFlagExecute | more);
}

/* Some hosts refuse to track: then there is a machine all the same, whose
 * memory is mapped without that, and the reason is its tracker's. */
static int map_slot(struct hl_whp *m, const struct hl_vm_slot *slot,
                    struct hl_whp_step *step)
{
    if (slot->logged && m->untracked[0] == 0) {
        HRESULT result = map(m, slot, WHvMapGpaRangeFlagTrackDirtyPages);
        int err = hl_whp_note(step, "WHvMapGpaRange", result);
        if (err == 0 || err == -ENOMEM)
            return err;
        (void)hl_why(m->untracked, 0,
                     "WHvMapGpaRange refuses to track dirty pages: error "
                     "%#lx",
                     (unsigned long)result);
    }
    return hl_whp_note(step, "WHvMapGpaRange", map(m, slot, 0));
}

static int fill(struct hl_whp *m, struct hl_whp_step *step)
{
    int err = set_up(m, step);

    for (size_t i = 0; i < m->config.slot_count && err == 0; i++)
        err = map_slot(m, &m->config.slots[i], step);
    return err < 0 ? err : hl_whp_set_up_cpu(m, step);
}

int hl_whp_make(const struct hl_whp_calls *calls,
                const struct hl_vm_config *config, const char *untracked,
                struct hl_whp **out, char *why)
{
    struct hl_whp_step step = {0};
    struct hl_whp *m = calloc(1, sizeof *m);

    if (m == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    m->calls = calls;
    m->config = *config;
    m->regs.rflags = 2;
    memcpy(m->untracked, untracked, strnlen(untracked, HL_WHY_SIZE - 1));
    int err = hl_whp_kick_init(m);
    if (err < 0) {
        (void)hl_why(why, err, "CreateThreadpoolTimer: error %lu",
                     (unsigned long)GetLastError());
    } else {
        err = fill(m, &step);
        if (err < 0)
            put_in_words(why, &step);
    }
    if (err < 0) {
        hl_whp_destroy(&m->vm);
        return err;
    }
    *out = m;
    return 0;
}
