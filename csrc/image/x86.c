#include "image/x86.h"

#include <string.h>

#define PAGE ((uint64_t)4096)
#define HUGE ((uint64_t)2 << 20)
#define LIMIT ((uint64_t)1 << 47)

/* Page-table entries. */
#define PTE_PRESENT (UINT64_C(1) << 0)
#define PTE_WRITE (UINT64_C(1) << 1)
#define PTE_USER (UINT64_C(1) << 2)
#define PTE_TOUCHED (UINT64_C(3) << 5) /* accessed and dirty: X4 */
#define PTE_LARGE (UINT64_C(1) << 7)
#define PTE_NX (UINT64_C(1) << 63)
#define PTE_ADDR UINT64_C(0x000ffffffffff000)
#define PTE_TABLE (PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_TOUCHED)

/* The fixed part, by page. */
enum {
    AT_GDT,
    AT_IDT,
    AT_TSS, /* and its I/O bitmap */
    AT_TSS_END = AT_TSS + 3,
    AT_STUBS = AT_TSS_END,
    AT_STACK,
    AT_ENTRY,
    AT_ENTRY_DATA,
    AT_PAGE_TABLES,
};

#define TSS_SIZE 104
#define IO_BITMAP_SIZE (65536 / 8 + 1) /* and a byte of ones */
#define STUB_SIZE 16
#define IRET_AT 0xf00        /* in the page of the stubs */
#define SYSTEM_CALL_AT 0xf00 /* in the page of the entry code */
#define RDPKRU_AT 0xe00      /* there, too */

/* Machine code: an instruction's bytes by its name, operands in the order of
 * AT&T syntax.  A name with RIP in it has an operand at a distance from the
 * next instruction, and its bytes end before that distance (4 bytes). */
#define LE32(n) (n) & 0xff, (n) >> 8 & 0xff, (n) >> 16 & 0xff, (n) >> 24 & 0xff
#define MOV_EAX(n) 0xb8, LE32(n) /* mov $n, %eax */
#define MOV_ECX(n) 0xb9, LE32(n)
#define MOV_EDX(n) 0xba, LE32(n)
#define MOV_RIP_EAX 0x8b, 0x05       /* mov distance(%rip), %eax */
#define MOV_RIP_RAX 0x48, 0x8b, 0x05 /* mov distance(%rip), %rax */
#define MOV_RIP_RCX 0x48, 0x8b, 0x0d
#define MOV_RIP_RDX 0x48, 0x8b, 0x15
#define JMP_RIP 0xff, 0x25 /* jmp *distance(%rip) */
#define FILDL_RIP 0xdb, 0x05
#define XRSTOR64_RIP 0x48, 0x0f, 0xae, 0x2d
#define FNCLEX 0xdb, 0xe2
#define EMMS 0x0f, 0x77
#define RDPKRU 0x0f, 0x01, 0xee
#define WRPKRU 0x0f, 0x01, 0xef
#define PUSH(n) 0x6a, (n)
#define OUT_AL(port) 0xe6, (port)
#define HLT 0xf4
#define IRETQ 0x48, 0xcf
#define UD2 0x0f, 0x0b

struct builder {
    char *memory;
    uint64_t addr; /* of the guest */
    size_t used, pages;
};

static void *page_at(const struct builder *b, uint64_t guest)
{
    return b->memory + (guest - b->addr);
}

/* A page that is first read and then written costs two faults, the second of
 * which the kernel reports to every machine of the process. */
static uint64_t add_page(struct builder *b)
{
    if (b->used == b->pages)
        return 0;
    uint64_t page = b->addr + b->used++ * PAGE;
    *(volatile uint64_t *)page_at(b, page) = 0;
    return page;
}

/* The entry for addr in a table of this level (3: the root, 0: 4 KiB pages).
 * What is missing above is added; NULL: no room. */
static uint64_t *entry_at(struct builder *b, uint64_t root, uint64_t addr,
                          int level)
{
    uint64_t *table = page_at(b, root);

    for (int l = 3;; l--) {
        uint64_t *entry = &table[addr >> (12 + 9 * l) & 511];
        if (l == level)
            return entry;
        if (*entry == 0) {
            uint64_t page = add_page(b);
            if (page == 0)
                return NULL;
            *entry = page | PTE_TABLE;
        }
        table = page_at(b, *entry & PTE_ADDR);
    }
}

static uint64_t flags_of(unsigned perms)
{
    return PTE_PRESENT | PTE_TOUCHED |
           (perms & HL_PERM_WRITE ? PTE_WRITE : 0) |
           (perms & HL_PERM_EXECUTE ? 0 : PTE_NX);
}

/* In large pages where the region covers them whole: 1 GiB is then one page of
 * tables. */
static int map(struct builder *b, uint64_t root,
               const struct hl_x86_region *region, uint64_t extra)
{
    uint64_t flags = flags_of(region->perms) | extra;
    uint64_t at = region->addr, end = at + region->size;

    while (at < end) {
        bool large = at % HUGE == 0 && end - at >= HUGE;
        uint64_t *entry = entry_at(b, root, at, large ? 1 : 0);
        if (entry == NULL)
            return -ENOMEM;
        if (*entry != 0)
            return -EINVAL;
        *entry = at | flags | (large ? PTE_LARGE : 0);
        at += large ? HUGE : PAGE;
    }
    return 0;
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

static bool is_sound(const struct hl_x86_region *r)
{
    return r->size > 0 && r->addr % PAGE == 0 && r->size % PAGE == 0 &&
           r->addr < LIMIT && r->size <= LIMIT - r->addr &&
           (r->perms & HL_PERM_BOTH ||
            (r->perms & (HL_PERM_WRITE | HL_PERM_EXECUTE)) !=
                (HL_PERM_WRITE | HL_PERM_EXECUTE));
}

/* Tables of one level that [addr, +size) touches. */
static size_t tables_for(uint64_t addr, uint64_t size, int shift)
{
    return (size_t)(((addr + size - 1) >> shift) - (addr >> shift) + 1);
}

size_t hl_x86_tables_size(uint64_t addr, const struct hl_x86_region *regions,
                          size_t count)
{
    size_t pages = AT_PAGE_TABLES + 1;

    /* An upper bound: neighbours may share. */
    for (size_t i = 0; i < count; i++) {
        const struct hl_x86_region *r = &regions[i];
        pages += tables_for(r->addr, r->size, 39);
        pages += tables_for(r->addr, r->size, 30);
        pages += 2; /* of 4 KiB pages: at its ends only */
    }
    pages += 3 + 3; /* for the tables themselves, which may cross one */
    (void)addr;
    return pages * PAGE;
}

/* A descriptor of code or data in long mode; base and limit mean nothing. */
static uint64_t segment(bool code, unsigned dpl)
{
    uint64_t access =
        0x93 | dpl << 5 | (code ? 8 : 0); /* P, S, RW, accessed */
    uint64_t flags = code ? 0xA : 0xC;    /* G, and L or D */

    return UINT64_C(0xffff) | access << 40 | UINT64_C(0xf) << 48 | flags << 52;
}

static void build_gdt(const struct builder *b, struct hl_x86_tables *t)
{
    uint64_t limit = TSS_SIZE + IO_BITMAP_SIZE - 1, tss = t->tss;
    uint64_t gdt[7] = {
        [HL_X86_KERNEL_CODE / 8] = segment(true, 0),
        [HL_X86_KERNEL_DATA / 8] = segment(false, 0),
        [HL_X86_USER_DATA / 8] = segment(false, 3),
        [HL_X86_USER_CODE / 8] = segment(true, 3),
        /* Present, busy 64-bit TSS: 16 bytes. */
        [HL_X86_TSS / 8] = (limit & 0xffff) | (tss & 0xffffff) << 16 |
                           UINT64_C(0x8b) << 40 | (limit >> 16 & 0xf) << 48 |
                           (tss >> 24 & 0xff) << 56,
        [HL_X86_TSS / 8 + 1] = tss >> 32,
    };

    memcpy(page_at(b, t->gdt), gdt, sizeof gdt);
    t->gdt_limit = sizeof gdt - 1;
    t->tss_limit = limit;
}

/* RSP0 for exceptions from CPL 3, IST1 for those in a stub: both are the same
 * stack, since the first frame is not needed once there is a second. */
static void build_tss(const struct builder *b, const struct hl_x86_tables *t)
{
    char *tss = page_at(b, t->tss);
    uint64_t top = t->stack + t->stack_size;
    uint16_t map_at = TSS_SIZE;

    memcpy(tss + 4, &top, sizeof top);  /* RSP0 */
    memcpy(tss + 36, &top, sizeof top); /* IST1 */
    memcpy(tss + 102, &map_at, sizeof map_at);
    memset(tss + TSS_SIZE, 0xff, IO_BITMAP_SIZE);
    tss[TSS_SIZE + HL_PORT_GUEST / 8] &= (char)~(1 << HL_PORT_GUEST % 8);
}

/* Vectors for which the processor pushes an error code. */
static bool has_error_code(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 ||
           vector == 21 || vector == 29 || vector == 30;
}

/* Push what the processor did not, and leave; the rest of the space stops. */
static void build_stub(uint8_t *code, unsigned vector)
{
    const uint8_t no_error_code[] = {PUSH(0)};
    const uint8_t report[] = {
        PUSH((uint8_t)vector),
        OUT_AL(HL_PORT_EXCEPTION),
        HLT,
    };

    memset(code, HLT, STUB_SIZE);
    if (!has_error_code(vector)) {
        memcpy(code, no_error_code, sizeof no_error_code);
        code += sizeof no_error_code;
    }
    memcpy(code, report, sizeof report);
}

static void build_idt(const struct builder *b, struct hl_x86_tables *t,
                      uint64_t stubs)
{
    uint64_t *idt = page_at(b, t->idt);

    for (unsigned v = 0; v < HL_X86_VECTORS; v++) {
        uint64_t stub = stubs + v * STUB_SIZE;
        uint64_t ist = v == 8 ? 1 : 0;
        build_stub(page_at(b, stub), v);
        /* Present interrupt gate of DPL 0: `int n` at CPL 3 is refused. */
        idt[2 * v] = (stub & 0xffff) | (uint64_t)HL_X86_KERNEL_CODE << 16 |
                     ist << 32 | UINT64_C(0x8e) << 40 |
                     (stub >> 16 & 0xffff) << 48;
        idt[2 * v + 1] = stub >> 32;
    }
    t->idt_limit = HL_X86_VECTORS * 16 - 1;
}

/* Sets no flag, and uses RAX, RDX and, for PKRU, RCX only.  FNCLEX to FILD are
 * for processors whose XRSTOR keeps the addresses of the last x87 instruction
 * (AMD APM vol. 2, 11.4.4.3): they replace them by the addresses here.  XRSTOR
 * loads all components: a KVM without hardware help gives guests those of the
 * host, and components without saved state are put into their initial one. */
static const struct {
    uint8_t size, code[5];
    bool pkru;      /* in that entry only */
    bool has_field; /* its distance from RIP is behind the code */
    uint16_t field;
} entry_code[] = {
#define CODE(...)                                                             \
    .size = sizeof((const uint8_t[]){__VA_ARGS__}), .code = {__VA_ARGS__}
#define PKRU_ONLY .pkru = true
#define FIELD(name)                                                           \
    .has_field = true, .field = offsetof(struct hl_x86_entry, name)
    {CODE(MOV_ECX(0)), PKRU_ONLY},
    {CODE(MOV_EDX(0)), PKRU_ONLY},
    {CODE(MOV_EAX(0)), PKRU_ONLY},
    {CODE(WRPKRU), PKRU_ONLY},
    {CODE(FNCLEX)},
    {CODE(EMMS)},
    {CODE(FILDL_RIP), FIELD(rip)},
    {CODE(MOV_EAX(0xffffffff))}, /* EDX:EAX: all components */
    {CODE(MOV_EDX(0xffffffff))},
    {CODE(XRSTOR64_RIP), FIELD(xsave)},
    {CODE(MOV_EDX(0)), PKRU_ONLY},
    {CODE(MOV_RIP_EAX), FIELD(pkru), PKRU_ONLY},
    {CODE(WRPKRU), PKRU_ONLY},
    {CODE(MOV_RIP_RCX), FIELD(rcx), PKRU_ONLY},
    {CODE(MOV_RIP_RAX), FIELD(rax)},
    {CODE(MOV_RIP_RDX), FIELD(rdx)},
    {CODE(JMP_RIP), FIELD(rip)},
#undef CODE
#undef PKRU_ONLY
#undef FIELD
};

static int build_entry(const struct builder *b, uint64_t entry,
                       uint64_t entry_data, bool pkru)
{
    uint64_t at = entry;

    for (size_t i = 0; i < HL_ARRAY_SIZE(entry_code); i++) {
        if (entry_code[i].pkru && !pkru)
            continue;
        memcpy(page_at(b, at), entry_code[i].code, entry_code[i].size);
        at += entry_code[i].size;
        if (!entry_code[i].has_field)
            continue;
        uint32_t distance =
            (uint32_t)(entry_data + entry_code[i].field - at - 4);
        memcpy(page_at(b, at), &distance, sizeof distance);
        at += sizeof distance;
    }
    return at - entry <= HL_X86_ENTRY_CODE ? 0 : -ENOSPC;
}

/* The rest of the code, each at an address of its own. */
static const uint8_t rdpkru[] = {MOV_ECX(0), RDPKRU, OUT_AL(HL_PORT_GUEST)};
static const uint8_t iret[] = {IRETQ};
static const uint8_t system_call[] = {UD2};

int hl_x86_build(void *memory, size_t size, uint64_t addr,
                 const struct hl_x86_region *regions, size_t count,
                 struct hl_x86_tables *t)
{
    struct builder b = {memory, addr, AT_PAGE_TABLES, size / PAGE};
    const struct {
        struct hl_x86_region region;
        uint64_t extra;
    } own[] = {
        {{addr, AT_STUBS * PAGE, HL_PERM_READ | HL_PERM_WRITE}, 0},
        {{addr + AT_STUBS * PAGE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE}, 0},
        {{addr + AT_STACK * PAGE, PAGE, HL_PERM_READ | HL_PERM_WRITE}, 0},
        {{addr + AT_ENTRY * PAGE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
         PTE_USER},
        {{addr + AT_ENTRY_DATA * PAGE, PAGE, HL_PERM_READ}, PTE_USER},
    };
    int err = 0;

    if (addr % PAGE || size % PAGE || b.pages <= b.used || addr >= LIMIT ||
        size > LIMIT - addr)
        return -EINVAL;
    uint64_t root = add_page(&b);
    *t = (struct hl_x86_tables){
        .cr3 = root,
        .gdt = addr + AT_GDT * PAGE,
        .idt = addr + AT_IDT * PAGE,
        .tss = addr + AT_TSS * PAGE,
        .stack = addr + AT_STACK * PAGE,
        .stack_size = PAGE,
        .entry = addr + AT_ENTRY * PAGE,
        .entry_pkru = addr + AT_ENTRY * PAGE + HL_X86_ENTRY_CODE,
        .entry_data = addr + AT_ENTRY_DATA * PAGE,
        .rdpkru = addr + AT_ENTRY * PAGE + RDPKRU_AT,
        .system_call = addr + AT_ENTRY * PAGE + SYSTEM_CALL_AT,
        .iret = addr + AT_STUBS * PAGE + IRET_AT,
    };
    for (size_t i = 0; i < count && err == 0; i++) {
        if (!is_sound(&regions[i]) ||
            overlaps(regions[i].addr, regions[i].size, addr, size))
            err = -EINVAL;
        else
            err = map(&b, root, &regions[i], PTE_USER);
    }
    for (size_t i = 0; i < HL_ARRAY_SIZE(own) && err == 0; i++)
        err = map(&b, root, &own[i].region, own[i].extra);
    if (err < 0)
        return err;
    build_gdt(&b, t);
    build_tss(&b, t);
    build_idt(&b, t, addr + AT_STUBS * PAGE);
    err = build_entry(&b, t->entry, t->entry_data, false);
    if (err == 0)
        err = build_entry(&b, t->entry_pkru, t->entry_data, true);
    memcpy(page_at(&b, t->rdpkru), rdpkru, sizeof rdpkru);
    memcpy(page_at(&b, t->iret), iret, sizeof iret);
    memcpy(page_at(&b, t->system_call), system_call, sizeof system_call);
    t->end = addr + b.used * PAGE;
    return err;
}

/* A large page as 512 small ones. */
static int split(struct builder *b, uint64_t *large)
{
    uint64_t page = add_page(b), flags = *large & ~PTE_ADDR & ~PTE_LARGE;
    uint64_t at = *large & PTE_ADDR;

    if (page == 0)
        return -ENOMEM;
    uint64_t *table = page_at(b, page);
    for (size_t i = 0; i < 512; i++)
        table[i] = (at + i * PAGE) | flags;
    *large = page | PTE_TABLE;
    return 0;
}

static int carve(struct builder *b, uint64_t root,
                 const struct hl_x86_region *r)
{
    for (uint64_t at = r->addr; at < r->addr + r->size; at += PAGE) {
        uint64_t *large = entry_at(b, root, at, 1);
        if (large == NULL || *large == 0)
            return -EINVAL;
        int err = *large & PTE_LARGE ? split(b, large) : 0;
        if (err < 0)
            return err;
        uint64_t *entry = entry_at(b, root, at, 0);
        if (entry == NULL || *entry == 0)
            return -EINVAL;
        *entry = at | flags_of(r->perms) | PTE_USER;
    }
    return 0;
}

int hl_x86_carve(void *memory, size_t size, uint64_t addr,
                 const struct hl_x86_region *finer, size_t count,
                 struct hl_x86_tables *t)
{
    struct builder b = {memory, addr, (size_t)((t->end - addr) / PAGE),
                        size / PAGE};
    int err = 0;

    for (size_t i = 0; i < count && err == 0; i++)
        err = is_sound(&finer[i]) ? carve(&b, t->cr3, &finer[i]) : -EINVAL;
    t->end = addr + b.used * PAGE;
    return err;
}

void hl_x86_let_system_calls_leave(void *memory, uint64_t addr,
                                   const struct hl_x86_tables *t)
{
    static const uint8_t stub[] = {OUT_AL(HL_PORT_SYSTEM_CALL), HLT};
    const struct builder b = {.memory = memory, .addr = addr};
    uint8_t *bitmap = (uint8_t *)page_at(&b, t->tss) + TSS_SIZE;
    uint64_t *idt = page_at(&b, t->idt);

    memcpy(page_at(&b, t->system_call), stub, sizeof stub);
    bitmap[HL_PORT_SYSTEM_CALL / 8] &=
        (uint8_t)~(1 << HL_PORT_SYSTEM_CALL % 8);
    for (unsigned v = 0; v < HL_X86_VECTORS; v++)
        idt[2 * v] |= UINT64_C(1) << 32; /* IST1 */
}
