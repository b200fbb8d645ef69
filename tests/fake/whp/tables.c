/* The guest's page tables, as a processor would read them: the emulator wants
 * to know of regions instead. */
#include <string.h>

#include "fake/whp/inside.h"

#define PRESENT (UINT64_C(1) << 0)
#define WRITABLE (UINT64_C(1) << 1)
#define USER (UINT64_C(1) << 2)
#define LARGE (UINT64_C(1) << 7)
#define NO_EXECUTE (UINT64_C(1) << 63)
#define ADDRESS UINT64_C(0x000ffffffffff000)
#define LIMIT (UINT64_C(1) << 47)
#define ERROR_WRITE 2
#define ERROR_FETCH 16

static unsigned shift_of(int level) { return (unsigned)(12 + 9 * level); }

static bool is_leaf(uint64_t entry, int level)
{
    return level == 0 || (entry & LARGE) != 0;
}

static unsigned perms_of(uint64_t entry)
{
    return HL_PERM_READ | (entry & WRITABLE ? HL_PERM_WRITE : 0u) |
           (entry & NO_EXECUTE ? 0u : HL_PERM_EXECUTE);
}

/* A page of the guest's; one more region, or the last one is longer.  Pages
 * without memory are left out: the emulator then faults, and run.c sees why.
 */
static bool add(struct fake_partition *p, uint64_t addr, uint64_t size,
                unsigned perms)
{
    struct hl_vm_config *c = &p->config;
    struct hl_x86_region *last = &c->regions[c->region_count - 1];

    for (uint64_t at = addr; at < addr + size; at += HL_WHP_PAGE) {
        if (fake_host(p, at, HL_WHP_PAGE) == NULL)
            continue;
        if (c->region_count > 0 && last->addr + last->size == at &&
            last->perms == perms) {
            last->size += HL_WHP_PAGE;
            continue;
        }
        if (c->region_count == HL_X86_REGIONS)
            return false;
        last = &c->regions[c->region_count++];
        *last = (struct hl_x86_region){at, HL_WHP_PAGE, perms};
    }
    return true;
}

/* own: the range that the tables are in, where the guest has nothing to do. */
static bool walk(struct fake_partition *p, const struct fake_range *own,
                 uint64_t table, int level, uint64_t base)
{
    const uint64_t *entries = fake_host(p, table, HL_WHP_PAGE);
    bool ok = entries != NULL;

    for (size_t i = 0; i < 512 && ok; i++) {
        const uint64_t addr = base | (uint64_t)i << shift_of(level);
        const uint64_t size = UINT64_C(1) << shift_of(level);
        if ((entries[i] & PRESENT) == 0 || addr >= LIMIT)
            continue;
        if (!is_leaf(entries[i], level))
            ok = walk(p, own, entries[i] & ADDRESS, level - 1, addr);
        else if ((entries[i] & USER) &&
                 !(addr >= own->addr && addr < own->addr + own->size))
            ok = add(p, addr, size, perms_of(entries[i]));
    }
    return ok;
}

static const struct fake_range *range_at(const struct fake_partition *p,
                                         uint64_t addr)
{
    for (size_t i = 0; i < p->range_count; i++)
        if (addr - p->ranges[i].addr < p->ranges[i].size)
            return &p->ranges[i];
    return NULL;
}

/* Where everything is, follows from where the tables begin. */
static bool find_tables(uint64_t addr, struct hl_x86_tables *out)
{
    const struct hl_x86_region any = {UINT64_C(1) << 46, HL_WHP_PAGE,
                                      HL_PERM_READ};
    static uint64_t memory[64 * 512];

    memset(memory, 0, sizeof memory);
    return hl_x86_tables_size(addr, &any, 1) <= sizeof memory &&
           hl_x86_build(memory, sizeof memory, addr, &any, 1, out) == 0;
}

static bool registers_agree(struct fake_partition *p)
{
    const struct hl_x86_tables *t = &p->config.tables;
    const WHV_X64_TABLE_REGISTER gdt =
        fake_value(p, WHvX64RegisterGdtr)->Table;
    const WHV_X64_TABLE_REGISTER idt =
        fake_value(p, WHvX64RegisterIdtr)->Table;
    const WHV_X64_SEGMENT_REGISTER tss =
        fake_value(p, WHvX64RegisterTr)->Segment;
    const WHV_X64_SEGMENT_REGISTER cs =
        fake_value(p, WHvX64RegisterCs)->Segment;

    return fake_value(p, WHvX64RegisterCr3)->Reg64 == t->cr3 &&
           gdt.Base == t->gdt && gdt.Limit == t->gdt_limit &&
           idt.Base == t->idt && idt.Limit == t->idt_limit &&
           tss.Base == t->tss && tss.Limit == t->tss_limit &&
           cs.Selector == HL_X86_USER_CODE && cs.Long &&
           cs.DescriptorPrivilegeLevel == 3 &&
           (fake_value(p, WHvX64RegisterEfer)->Reg64 & 0x500) == 0x500 &&
           (fake_value(p, WHvX64RegisterCr0)->Reg64 & 0x80000001) ==
               0x80000001;
}

bool fake_read_tables(struct fake_partition *p)
{
    static SRWLOCK lock = SRWLOCK_INIT; /* of find_tables */
    const uint64_t cr3 = fake_value(p, WHvX64RegisterCr3)->Reg64;
    const struct fake_range *own = range_at(p, cr3);

    if (own == NULL)
        return false;
    AcquireSRWLockExclusive(&lock);
    bool found = find_tables(own->addr, &p->config.tables);
    ReleaseSRWLockExclusive(&lock);
    p->config.region_count = 0;
    return found && registers_agree(p) && walk(p, own, cr3, 3, 0);
}

bool fake_is_allowed(struct fake_partition *p, uint64_t addr, uint64_t error)
{
    uint64_t table = fake_value(p, WHvX64RegisterCr3)->Reg64, entry = 0;

    if (addr >= LIMIT)
        return false;
    for (int level = 3; level >= 0; level--) {
        const uint64_t *entries = fake_host(p, table, HL_WHP_PAGE);
        if (entries == NULL)
            return false;
        entry = entries[addr >> shift_of(level) & 511];
        if ((entry & PRESENT) == 0)
            return false;
        if (is_leaf(entry, level))
            break;
        table = entry & ADDRESS;
    }
    return (entry & USER) && !((error & ERROR_WRITE) && !(entry & WRITABLE)) &&
           !((error & ERROR_FETCH) && (entry & NO_EXECUTE));
}
