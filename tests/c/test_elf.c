/* The guest loader: good files are loaded, bad ones refused with a reason,
 * and whatever comes does no harm. */
#include <string.h>

#include "check.h"
#include "image/elf.h"
#include "image/elf_types.h"
#include "image/x86.h"
#include "track/track.h"

#ifdef _WIN32 /* what the loader refuses */
#define PT_NULL 0
#define EV_CURRENT 1
#define ELFCLASS32 1
#define ELFDATA2MSB 2
#define EM_386 3
#define ET_CORE 4
#define R_X86_64_64 1
#endif

#define BASE ((uint64_t)0x400000)
#define FILE_SIZE ((size_t)0x4000)
#define PHDRS 6

/* A file of [headers][code][rodata][data], a page each. */
struct image {
    Elf64_Ehdr header;
    Elf64_Phdr ph[PHDRS];
    unsigned char
        rest[FILE_SIZE - sizeof(Elf64_Ehdr) - PHDRS * sizeof(Elf64_Phdr)];
};
_Static_assert(sizeof(struct image) == FILE_SIZE, "no padding");

enum { CODE, RODATA, DATA, TLS, DYNAMIC, STACK };

static Elf64_Phdr segment(uint32_t type, uint32_t flags, uint64_t page,
                          uint64_t addr, uint64_t in_file, uint64_t size)
{
    return (Elf64_Phdr){
        .p_type = type,
        .p_flags = flags,
        .p_offset = page * 4096,
        .p_vaddr = addr,
        .p_filesz = in_file,
        .p_memsz = size,
        .p_align = type == PT_LOAD ? 4096 : 8,
    };
}

static struct image good(bool pie)
{
    uint64_t at = pie ? 0 : BASE;
    struct image f = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB,
                               EV_CURRENT},
                   .e_type = pie ? ET_DYN : ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_version = EV_CURRENT,
                   .e_entry = at + 0x10,
                   .e_phoff = offsetof(struct image, ph),
                   .e_ehsize = sizeof(Elf64_Ehdr),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = PHDRS},
        .ph = {[CODE] = segment(PT_LOAD, PF_R | PF_X, 1, at, 100, 100),
               [RODATA] = segment(PT_LOAD, PF_R, 2, at + 0x2000, 200, 200),
               [DATA] = segment(PT_LOAD, PF_R | PF_W, 3, at + 0x3000, 0x400,
                                0x2801),
               [TLS] = segment(PT_TLS, PF_R, 3, at + 0x3100, 16, 40),
               [DYNAMIC] = segment(PT_DYNAMIC, PF_R, 3, at + 0x3200, 0, 0),
               [STACK] = segment(PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0)},
    };
    for (size_t i = 0; i < sizeof f.rest; i++)
        f.rest[i] = (unsigned char)(i * 7 + 1);
    return f;
}

static unsigned char *at_offset(struct image *f, size_t offset)
{
    return (unsigned char *)f + offset;
}

/* Two relative relocations, as RELA, of the first words of data and rodata. */
static void add_relocations(struct image *f)
{
    const Elf64_Rela relocs[] = {
        {0x3000, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0x2010},
        {0x2008, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0x50},
    };
    const Elf64_Dyn dynamic[] = {
        {DT_RELA, {0x3300}},
        {DT_RELASZ, {sizeof relocs}},
        {DT_RELAENT, {sizeof(Elf64_Rela)}},
        {DT_NULL, {0}},
    };

    memcpy(at_offset(f, 0x3300), relocs, sizeof relocs);
    memcpy(at_offset(f, 0x3200), dynamic, sizeof dynamic);
    f->ph[DYNAMIC].p_filesz = f->ph[DYNAMIC].p_memsz = sizeof dynamic;
}

static void segments_are_read(void)
{
    static const struct hl_elf_segment expected[] = {
        {BASE, 0x1000, HL_PERM_READ | HL_PERM_EXECUTE},
        {BASE + 0x2000, 0x1000, HL_PERM_READ},
        {BASE + 0x3000, 0x3000, HL_PERM_READ | HL_PERM_WRITE},
    };
    struct image f = good(false);
    char why[HL_WHY_SIZE] = "";
    struct hl_elf elf;

    f.ph[DYNAMIC].p_type = PT_NULL;
    CHECK(hl_elf_read(&f, sizeof f, &elf, why) == 0);
    CHECK(!elf.pie && elf.entry == BASE + 0x10);
    CHECK(elf.low == BASE && elf.high == BASE + 0x6000);
    CHECK(elf.writable == BASE + 0x3000);
    CHECK(elf.tls_addr == BASE + 0x3100 && elf.tls_file_size == 16 &&
          elf.tls_size == 40 && elf.tls_align == 8);
    CHECK(elf.segment_count == 3);
    for (size_t i = 0; i < 3; i++)
        CHECK(elf.segments[i].addr == expected[i].addr &&
              elf.segments[i].size == expected[i].size &&
              elf.segments[i].perms == expected[i].perms);
    CHECK(elf.align == 4096);
}

static void bytes_are_loaded(void)
{
    struct image f = good(false);
    char why[HL_WHY_SIZE] = "";
    struct hl_elf elf;

    f.ph[DYNAMIC].p_type = PT_NULL;
    CHECK(hl_elf_read(&f, sizeof f, &elf, why) == 0);
    size_t size = elf.high - elf.low;
    unsigned char *memory = calloc(1, size);
    CHECK(hl_elf_load(&elf, &f, sizeof f, 0, memory, why) == 0);
    for (size_t i = 0; i < size; i++) {
        unsigned char expected = 0;
        if (i < 100)
            expected = *at_offset(&f, 0x1000 + i);
        else if (i >= 0x2000 && i < 0x2000 + 200)
            expected = *at_offset(&f, i);
        else if (i >= 0x3000 && i < 0x3400)
            expected = *at_offset(&f, i);
        CHECK(memory[i] == expected);
    }
    CHECK(hl_elf_load(&elf, &f, sizeof f, 4096, memory, why) == -EINVAL);
    f.ph[DATA].p_memsz += 0x1000;
    CHECK(hl_elf_load(&elf, &f, sizeof f, 0, memory, why) == -EINVAL);
    free(memory);
}

static void relocations_are_applied(void)
{
    struct image f = good(true);
    char why[HL_WHY_SIZE] = "";
    uint64_t base = 0x10000000, word;
    struct hl_elf elf;

    add_relocations(&f);
    CHECK(hl_elf_read(&f, sizeof f, &elf, why) == 0);
    CHECK(elf.pie && elf.low == 0 && elf.entry == 0x10);
    unsigned char *memory = calloc(1, elf.high - elf.low);
    CHECK(hl_elf_load(&elf, &f, sizeof f, base, memory, why) == 0);
    memcpy(&word, memory + 0x3000, 8);
    CHECK(word == base + 0x2010);
    memcpy(&word, memory + 0x2008, 8); /* read-only for the guest: RELRO */
    CHECK(word == base + 0x50);
    CHECK(memory[0x3008] == *at_offset(&f, 0x3008));
    CHECK(hl_elf_load(&elf, &f, sizeof f, base + 1, memory, why) == -EINVAL);
    free(memory);
}

/* What is done to a good file, and what is said of it. */
struct flaw {
    size_t at, width;
    uint64_t value;
    const char *said;
    bool pie;
};

#define HEADER(field) offsetof(struct image, header.field)
#define PH(i, field)                                                          \
    (offsetof(struct image, ph) + (i) * sizeof(Elf64_Phdr) +                  \
     offsetof(Elf64_Phdr, field))

static const struct flaw flaws[] = {
    {0, 1, 0, "not an ELF file", false},
    {4, 1, ELFCLASS32, "another machine", false},
    {5, 1, ELFDATA2MSB, "another machine", false},
    {HEADER(e_machine), 2, EM_386, "another machine", false},
    {HEADER(e_type), 2, ET_REL, "object file", false},
    {HEADER(e_type), 2, ET_CORE, "not a program", false},
    {HEADER(e_phnum), 2, 0, "program headers", false},
    {HEADER(e_phnum), 2, 0xffff, "past the end", false},
    {HEADER(e_phentsize), 2, 32, "program headers", false},
    {HEADER(e_phoff), 8, FILE_SIZE - 10, "past the end", false},
    {HEADER(e_phoff), 8, UINT64_MAX - 5, "past the end", false},
    {HEADER(e_entry), 8, BASE + 0x3000, "entry point", false},
    {HEADER(e_entry), 8, 0, "entry point", false},
    {PH(CODE, p_flags), 4, PF_R | PF_W | PF_X, "writable and executa", false},
    {PH(CODE, p_filesz), 8, 101, "more bytes in the file", false},
    {PH(CODE, p_vaddr), 8, 0x1000, "above 1 MiB", false},
    {PH(CODE, p_vaddr), 8, UINT64_MAX - 50, "below 3 GiB", false},
    {PH(CODE, p_vaddr), 8, BASE + 0x2000, "overlaps", false},
    {PH(CODE, p_memsz), 8, UINT64_MAX, "below 3 GiB", false},
    {PH(CODE, p_memsz), 8, 0x3000, "overlaps", false},
    {PH(CODE, p_align), 8, 3, "aligned", false},
    {PH(CODE, p_align), 8, 4 << 20, "aligned", false},
    {PH(RODATA, p_offset), 8, FILE_SIZE - 100, "past the end", false},
    {PH(RODATA, p_offset), 8, UINT64_MAX - 10, "past the end", false},
    {PH(RODATA, p_vaddr), 8, BASE + 0xf00, "share the page", false},
    {PH(RODATA, p_vaddr), 8, BASE + 0x10, "overlaps", false},
    {PH(DATA, p_memsz), 8, 0x40000000, "more than 1 GiB", false},
    {PH(DATA, p_memsz), 8, 0xc0000000, "below 3 GiB", false},
    {PH(DATA, p_filesz), 8, 0x2801, "past the end", false},
    {PH(TLS, p_vaddr), 8, 0, "not in any segment", false},
    {PH(TLS, p_vaddr), 8, BASE + 0x5ff8, "not in any segment", false},
    {PH(TLS, p_filesz), 8, 100, "are invalid", false},
    {PH(TLS, p_align), 8, 8192, "aligned", false},
    {PH(TLS, p_align), 8, 12, "aligned", false},
    {PH(TLS, p_memsz), 8, UINT64_MAX, "are invalid", false},
    {PH(STACK, p_flags), 4, PF_R | PF_W | PF_X, "executable stack", false},
    {PH(STACK, p_type), 4, PT_INTERP, "linked dynamically", false},
    {PH(DYNAMIC, p_filesz), 8, FILE_SIZE, "", true},
    {0x3200, 8, DT_NEEDED, "linked dynamically", true},
    {0x3208, 8, 0x123456, "relocations", true},
    {0x3218, 8, 47, "relocations", true},
    {0x3218, 8, 24 << 20, "relocations", true},
    {0x3228, 8, 16, "relocations", true},
    {0x3300, 8, 0x5ffd, "", true},
    {0x3300, 8, UINT64_MAX, "", true},
    {0x3308, 8, R_X86_64_64, "relocation", true},
    {0x3308, 8, R_X86_64_TPOFF64, "relocation", true},
    {0x3308, 8, R_X86_64_IRELATIVE, "IRELATIVE", true},
};

static void flaws_are_refused(void)
{
    for (size_t i = 0; i < HL_ARRAY_SIZE(flaws); i++) {
        const struct flaw *flaw = &flaws[i];
        struct image f = good(flaw->pie);
        char why[HL_WHY_SIZE] = "";
        struct hl_elf elf;
        if (flaw->pie)
            add_relocations(&f);
        else
            f.ph[DYNAMIC].p_type = PT_NULL;
        CHECK(hl_elf_read(&f, sizeof f, &elf, why) == 0);
        memcpy(at_offset(&f, flaw->at), &flaw->value, flaw->width);
        int err = hl_elf_read(&f, sizeof f, &elf, why);
        if (err != -ENOEXEC || strstr(why, flaw->said) == NULL)
            fprintf(stderr, "flaw %zu: %d, %s\n", i, err, why);
        CHECK(err == -ENOEXEC && why[0] && strstr(why, flaw->said));
    }
}

static void cut_files_are_refused(void)
{
    struct image f = good(false);

    f.ph[DYNAMIC].p_type = PT_NULL;
    for (size_t size = 0; size < 0x3400; size += size < 600 ? 1 : 97) {
        char why[HL_WHY_SIZE] = "";
        struct hl_elf elf;
        unsigned char *cut = malloc(size + 1);
        memcpy(cut, &f, size);
        CHECK(hl_elf_read(cut, size, &elf, why) == -ENOEXEC);
        free(cut);
    }
}

/* Of whatever was accepted. */
static void check_sound(const struct hl_elf *elf)
{
    uint64_t end = 0;
    bool entered = false;

    CHECK(elf->segment_count > 0 && elf->segment_count <= HL_ELF_SEGMENTS);
    CHECK(elf->low % 4096 == 0 && elf->high % 4096 == 0);
    CHECK(elf->low < elf->high && elf->high <= HL_ELF_HIGH_LIMIT);
    CHECK(elf->high - elf->low <= HL_ELF_SIZE_LIMIT);
    CHECK(elf->pie || elf->low >= HL_ELF_LOW_LIMIT);
    CHECK(elf->writable >= elf->low && elf->writable <= elf->high);
    for (size_t i = 0; i < elf->segment_count; i++) {
        const struct hl_elf_segment *s = &elf->segments[i];
        unsigned both = HL_PERM_WRITE | HL_PERM_EXECUTE;
        CHECK(s->addr % 4096 == 0 && s->size % 4096 == 0 && s->size > 0);
        CHECK(s->addr >= end && s->addr >= elf->low);
        CHECK(s->addr + s->size <= elf->high);
        CHECK((s->perms & both) != both);
        CHECK(!(s->perms & HL_PERM_WRITE) || s->addr >= elf->writable);
        entered |= s->perms & HL_PERM_EXECUTE && elf->entry >= s->addr &&
                   elf->entry < s->addr + s->size;
        end = s->addr + s->size;
    }
    CHECK(entered);
    CHECK(elf->tls_size <= HL_ELF_SIZE_LIMIT && elf->tls_align <= 4096);
    CHECK(elf->tls_file_size <= elf->tls_size);
}

static void random_files_do_no_harm(void)
{
    uint64_t seed = 11;
    int accepted = 0;

    for (int i = 0; i < 60000; i++) {
        struct image f = good(i % 2);
        char why[HL_WHY_SIZE] = "";
        struct hl_elf elf;
        if (i % 2)
            add_relocations(&f);
        else
            f.ph[DYNAMIC].p_type = PT_NULL;
        for (uint64_t n = 1 + next_random(&seed) % 3; n > 0; n--) {
            /* The headers, or the relocations. */
            size_t at = next_random(&seed) % 100 * 4;
            if (next_random(&seed) % 3 == 0)
                at = 0x3200 + next_random(&seed) % 90 * 4;
            uint32_t value =
                (uint32_t)(next_random(&seed) >> next_random(&seed) % 64);
            memcpy(at_offset(&f, at), &value, 4);
        }
        size_t size = FILE_SIZE - next_random(&seed) % 4 * 0x300;
        unsigned char *file = malloc(size); /* exact, for the sanitizer */
        memcpy(file, &f, size);
        if (hl_elf_read(file, size, &elf, why) == 0) {
            check_sound(&elf);
            if (elf.high - elf.low < (64 << 20)) {
                unsigned char *memory = calloc(1, elf.high - elf.low);
                (void)!hl_elf_load(&elf, file, size, elf.pie ? 1 << 30 : 0,
                                   memory, why);
                free(memory);
            }
            accepted++;
        }
        free(file);
    }
    CHECK(accepted > 1000); /* else nothing but the header was tested */
}

int main(void)
{
    RUN(segments_are_read);
    RUN(bytes_are_loaded);
    RUN(relocations_are_applied);
    RUN(flaws_are_refused);
    RUN(cut_files_are_refused);
    RUN(random_files_do_no_harm);
    return 0;
}
