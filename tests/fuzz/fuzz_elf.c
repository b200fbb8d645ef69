/* ELF files: mutations that know what a field is, of the guests given as
 * corpus and of small files made here.
 *
 * Of each that is accepted E1 to E3 of vm/elf.h are checked: what lies where,
 * and that loading writes to segments alone.  One in eight is then loaded from
 * another file than was read, which must be refused or do no harm. */
#include <elf.h>

#include "fuzz.h"
#include "image/elf.h"
#include "image/x86.h"
#include "track/track.h"

#define BASE ((uint64_t)0x400000)
#define SMALL ((size_t)0x4000)
#define PHDRS 7
#define LOAD_LIMIT ((uint64_t)16 << 20) /* more takes the time of others */

static uint64_t inputs, accepted, loaded;

/* ---- Small files ---- */

static void put(unsigned char *file, size_t at, const void *bytes, size_t n)
{
    memcpy(file + at, bytes, n);
}

static void put_ph(unsigned char *file, size_t i, uint32_t type,
                   uint32_t flags, uint64_t offset, uint64_t addr,
                   uint64_t in_file, uint64_t size)
{
    Elf64_Phdr ph = {
        .p_type = type,
        .p_flags = flags,
        .p_offset = offset,
        .p_vaddr = addr,
        .p_paddr = addr,
        .p_filesz = in_file,
        .p_memsz = size,
        .p_align = type == PT_LOAD ? 4096 : 8,
    };
    put(file, sizeof(Elf64_Ehdr) + i * sizeof ph, &ph, sizeof ph);
}

/* [headers][code][constants][data], a page each, with thread-local variables;
 * as PIE with relocations of every kind that there is. */
static unsigned char *small_file(bool pie, size_t *size)
{
    uint64_t at = pie ? 0 : BASE;
    Elf64_Ehdr header = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = pie ? ET_DYN : ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = at + 0x10,
        .e_phoff = sizeof header,
        .e_ehsize = sizeof header,
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = PHDRS,
    };
    unsigned char *file = malloc(SMALL);

    for (size_t i = 0; i < SMALL; i++)
        file[i] = (unsigned char)(i * 7 + 1);
    put(file, 0, &header, sizeof header);
    put_ph(file, 0, PT_LOAD, PF_R | PF_X, 0x1000, at, 100, 100);
    put_ph(file, 1, PT_LOAD, PF_R, 0x2000, at + 0x2000, 200, 200);
    put_ph(file, 2, PT_LOAD, PF_R | PF_W, 0x3000, at + 0x3000, 0x600, 0x2801);
    put_ph(file, 3, PT_TLS, PF_R, 0x3100, at + 0x3100, 16, 40);
    put_ph(file, 4, pie ? PT_DYNAMIC : PT_NULL, PF_R, 0x3200, at + 0x3200,
           0x90, 0x90);
    put_ph(file, 5, PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0);
    put_ph(file, 6, PT_GNU_RELRO, PF_R, 0x3000, at + 0x3000, 0x100, 0x100);
    if (pie) {
        const Elf64_Rela relocs[] = {
            {0x3000, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0x2010},
            {0x2008, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0x50},
            {0x3008, ELF64_R_INFO(0, R_X86_64_NONE), 0},
        };
        const uint64_t relr[] = {0x3010, 0x7, 0x3050};
        const Elf64_Dyn dynamic[] = {
            {DT_RELA, {0x3300}}, {DT_RELASZ, {sizeof relocs}},
            {DT_RELAENT, {24}},  {36 /* DT_RELR */, {0x3400}},
            {35, {sizeof relr}}, {37, {8}},
            {DT_FLAGS_1, {1}},   {DT_NULL, {0}},
        };
        put(file, 0x3200, dynamic, sizeof dynamic);
        put(file, 0x3300, relocs, sizeof relocs);
        put(file, 0x3400, relr, sizeof relr);
    }
    *size = SMALL;
    return file;
}

/* ---- Mutations ---- */

static void put_number(unsigned char *file, size_t size, size_t at,
                       size_t width, uint64_t value)
{
    if (at <= size && width <= size - at)
        memcpy(file + at, &value, width);
}

static const struct {
    size_t at, width;
} header_fields[] =
    {
        {4, 1},  {5, 1},  {6, 1},  {16, 2}, {18, 2}, {20, 4}, {24, 8},
        {32, 8}, {40, 8}, {48, 4}, {52, 2}, {54, 2}, {56, 2}, {58, 2},
    },
  ph_fields[] = {
      {0, 4}, {4, 4}, {8, 8}, {16, 8}, {24, 8}, {32, 8}, {40, 8}, {48, 8},
  };

/* A number near one that the file has already, or one at an edge. */
static uint64_t some_number(const unsigned char *file, size_t size)
{
    uint64_t value;

    if (fuzz_below(2) && size >= 1024) {
        memcpy(&value, file + fuzz_below(128) * 8, 8);
        return value + fuzz_below(5) * 0x800 - 0x1000;
    }
    return fuzz_edge();
}

static void mutate(unsigned char *file, size_t *size)
{
    uint64_t n = *size;
    uint16_t count = 0;
    uint64_t table = 0;

    if (n >= sizeof(Elf64_Ehdr)) {
        memcpy(&count, file + offsetof(Elf64_Ehdr, e_phnum), 2);
        memcpy(&table, file + offsetof(Elf64_Ehdr, e_phoff), 8);
    }
    size_t i = count ? fuzz_below(count < 16 ? count : 16) : 0;
    size_t ph = (size_t)table + i * sizeof(Elf64_Phdr);
    switch (fuzz_below(9)) {
    case 0: {
        size_t f = fuzz_below(sizeof header_fields / sizeof *header_fields);
        put_number(file, n, header_fields[f].at, header_fields[f].width,
                   some_number(file, n));
        break;
    }
    case 1:
    case 2:
    case 3: {
        size_t f = fuzz_below(sizeof ph_fields / sizeof *ph_fields);
        uint64_t value = some_number(file, n);
        if (f == 0) {
            static const uint32_t types[] = {
                PT_NULL, PT_LOAD,      PT_DYNAMIC,  PT_INTERP,
                PT_TLS,  PT_GNU_STACK, PT_GNU_RELRO};
            value = types[fuzz_below(7)];
        } else if (f == 1) {
            value = fuzz_below(8);
        }
        put_number(file, n, ph + ph_fields[f].at, ph_fields[f].width, value);
        break;
    }
    case 4: /* one header where another is */
        if (table < n && (size_t)count * sizeof(Elf64_Phdr) <= n - table &&
            count > 1) {
            size_t j = fuzz_below(count), k = fuzz_below(count);
            memmove(file + table + j * sizeof(Elf64_Phdr),
                    file + table + k * sizeof(Elf64_Phdr), sizeof(Elf64_Phdr));
        }
        break;
    case 5: /* relocations and the like: whole words anywhere */
    case 6:
        put_number(file, n, fuzz_below(n / 8 + 1) * 8, 8,
                   some_number(file, n));
        if (n == SMALL)
            put_number(file, n, 0x3200 + fuzz_below(72) * 8, 8,
                       some_number(file, n));
        break;
    case 7:
        put_number(file, n, fuzz_below(n + 1), 1, fuzz_next());
        break;
    default:
        if (fuzz_below(4) == 0)
            *size = fuzz_below(n + 1);
    }
}

/* ---- What must be true ---- */

static void check_sound(const struct hl_elf *elf)
{
    unsigned both = HL_PERM_WRITE | HL_PERM_EXECUTE;
    uint64_t end = 0;
    bool entered = false;

    FUZZ_CHECK(elf->segment_count > 0);
    FUZZ_CHECK(elf->segment_count <= HL_ELF_SEGMENTS);
    FUZZ_CHECK(elf->low % 4096 == 0 && elf->high % 4096 == 0);
    FUZZ_CHECK(elf->low < elf->high && elf->high <= HL_ELF_HIGH_LIMIT);
    FUZZ_CHECK(elf->high - elf->low <= HL_ELF_SIZE_LIMIT);
    FUZZ_CHECK(elf->pie || elf->low >= HL_ELF_LOW_LIMIT);
    FUZZ_CHECK(elf->writable >= elf->low && elf->writable <= elf->high);
    FUZZ_CHECK(elf->writable % 4096 == 0);
    FUZZ_CHECK(elf->align >= 4096 && elf->align <= 2 << 20 &&
               (elf->align & (elf->align - 1)) == 0);
    for (size_t i = 0; i < elf->segment_count; i++) {
        const struct hl_elf_segment *s = &elf->segments[i];
        FUZZ_CHECK(s->addr % 4096 == 0 && s->size % 4096 == 0 && s->size > 0);
        FUZZ_CHECK(s->addr >= end && s->addr >= elf->low);
        FUZZ_CHECK(s->size <= elf->high - s->addr);
        FUZZ_CHECK((s->perms & both) != both && s->perms & HL_PERM_READ);
        FUZZ_CHECK(!(s->perms & HL_PERM_WRITE) || s->addr >= elf->writable);
        entered |= s->perms & HL_PERM_EXECUTE && elf->entry >= s->addr &&
                   elf->entry - s->addr < s->size;
        end = s->addr + s->size;
    }
    FUZZ_CHECK(entered);
    FUZZ_CHECK(elf->tls_size <= HL_ELF_SIZE_LIMIT);
    FUZZ_CHECK(elf->tls_align >= 1 && elf->tls_align <= 4096 &&
               (elf->tls_align & (elf->tls_align - 1)) == 0);
    FUZZ_CHECK(elf->tls_file_size <= elf->tls_size);
    if (elf->tls_file_size)
        FUZZ_CHECK(elf->tls_addr >= elf->low && elf->tls_addr <= elf->high &&
                   elf->tls_file_size <= elf->high - elf->tls_addr);
}

/* E3: between the segments everything is as it was. */
static void check_gaps(const struct hl_elf *elf, const unsigned char *memory)
{
    uint64_t at = elf->low;

    for (size_t i = 0; i <= elf->segment_count; i++) {
        uint64_t next =
            i < elf->segment_count ? elf->segments[i].addr : elf->high;
        for (; at < next; at++)
            FUZZ_CHECK(memory[at - elf->low] == 0);
        if (i < elf->segment_count)
            at = next + elf->segments[i].size;
    }
}

/* At an exact size, so that a sanitizer sees a byte too many. */
static void try_load(const struct hl_elf *elf, const unsigned char *file,
                     size_t size, bool same)
{
    static const uint64_t bases[] = {0, 0x400000, 1 << 30, 0x7fffffffe000,
                                     UINT64_MAX & ~(uint64_t)0x1fffff};
    char why[HL_WHY_SIZE] = "";

    if (elf->high - elf->low > LOAD_LIMIT)
        return;
    uint64_t base = elf->pie ? bases[fuzz_below(5)] : 0;
    unsigned char *memory = calloc(1, elf->high - elf->low);
    int err = hl_elf_load(elf, file, size, base, memory, why);
    FUZZ_CHECK(err == 0 || err == -EINVAL || err == -ENOEXEC);
    FUZZ_CHECK(err == 0 || (why[0] && memchr(why, 0, sizeof why)));
    if (same && err == 0) {
        check_gaps(elf, memory);
        loaded++;
    }
    free(memory);
}

static void test_one(const unsigned char *bytes, size_t size,
                     const unsigned char *other, size_t other_size)
{
    char why[HL_WHY_SIZE] = "";
    struct hl_elf elf;
    const struct hl_elf was = {.entry = 0x1234, .low = 7, .high = 9};

    elf = was;
    unsigned char *file = malloc(size ? size : 1);
    memcpy(file, bytes, size);
    fuzz_input(file, size);
    int err = hl_elf_read(file, size, &elf, why);
    inputs++;
    if (err == 0) {
        accepted++;
        check_sound(&elf);
        try_load(&elf, file, size, true);
        if (other)
            try_load(&elf, other, other_size, false);
    } else {
        FUZZ_CHECK(err == -ENOEXEC);
        FUZZ_CHECK(why[0] && memchr(why, 0, sizeof why));
        FUZZ_CHECK(memcmp(&elf, &was, sizeof elf) == 0);
    }
    FUZZ_CHECK(memcmp(file, bytes, size) == 0);
    free(file);
}

int main(int argc, char **argv)
{
    struct {
        unsigned char *bytes;
        size_t size;
    } seeds[16];
    size_t count = 0, size, previous_size = 0;

    fuzz_begin(argc, argv);
    if (fuzz.replay) {
        unsigned char *bytes = fuzz_read_file(fuzz.replay, &size);
        FUZZ_CHECK(bytes);
        test_one(bytes, size, NULL, 0);
        free(bytes);
        printf("elf: %d of 1 accepted\n", (int)accepted);
        return 0;
    }
    for (int pie = 0; pie < 2; pie++, count++)
        seeds[count].bytes = small_file(pie, &seeds[count].size);
    for (int i = 0; i < fuzz.corpus_count && count < 16; i++, count++) {
        seeds[count].bytes =
            fuzz_read_file(fuzz.corpus[i], &seeds[count].size);
        FUZZ_CHECK(seeds[count].bytes);
    }
    for (size_t i = 0; i < count; i++) { /* they are good themselves */
        test_one(seeds[i].bytes, seeds[i].size, NULL, 0);
        FUZZ_CHECK(accepted == i + 1 && loaded == i + 1);
    }
    unsigned char *previous = NULL;
    while (fuzz_time_left()) {
        /* The small ones are cheap: a corpus is for one input in 16. */
        size_t which = fuzz_below(16) ? fuzz_below(2) : fuzz_below(count);
        size = seeds[which].size;
        unsigned char *file = malloc(size);
        memcpy(file, seeds[which].bytes, size);
        for (uint64_t n = 1 + fuzz_below(4); n > 0; n--)
            mutate(file, &size);
        bool both = previous && fuzz_below(8) == 0;
        test_one(file, size, both ? previous : NULL, previous_size);
        free(previous);
        previous = file;
        previous_size = size;
    }
    free(previous);
    for (size_t i = 0; i < count; i++)
        free(seeds[i].bytes);
    printf("elf: seed %llu, %llu inputs, %llu accepted, %llu loaded\n",
           (unsigned long long)fuzz.seed, (unsigned long long)inputs,
           (unsigned long long)accepted, (unsigned long long)loaded);
    return 0;
}
