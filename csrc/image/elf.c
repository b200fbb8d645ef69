#include "image/elf.h"

#include <inttypes.h>
#include <string.h>

#include "image/elf_file.h"
#include "image/x86.h"
#include "why.h"

#define PAGE ((uint64_t)4096)
#define ALIGN_LIMIT ((uint64_t)2 << 20)
#define TLS_ALIGN_LIMIT PAGE /* no base is sure to have more */

static bool power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

static uint64_t page_up(uint64_t addr)
{
    return (addr + PAGE - 1) & ~(PAGE - 1);
}

static int read_header(struct hl_elf_file *file)
{
    Elf64_Ehdr *h = &file->header;

    if (file->size < sizeof *h || memcmp(file->bytes, ELFMAG, SELFMAG) != 0)
        return hl_why(file->why, -ENOEXEC, "this is not an ELF file");
    memcpy(h, file->bytes, sizeof *h);
    if (h->e_ident[EI_CLASS] != ELFCLASS64 ||
        h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64)
        return hl_why(file->why, -ENOEXEC,
                      "it is for another machine (class %d, byte order %d, "
                      "machine %d): compile for 64-bit x86-64",
                      h->e_ident[EI_CLASS], h->e_ident[EI_DATA], h->e_machine);
    if (h->e_type == ET_REL)
        return hl_why(file->why, -ENOEXEC,
                      "it is an object file: link it, with -static or "
                      "-static-pie");
    if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
        return hl_why(file->why, -ENOEXEC, "it is not a program (ELF type %d)",
                      h->e_type);
    if (h->e_phnum == 0 || h->e_phentsize != sizeof(Elf64_Phdr))
        return hl_why(file->why, -ENOEXEC,
                      "%d program headers of %d bytes: there must be at least "
                      "one, of %zu bytes",
                      h->e_phnum, h->e_phentsize, sizeof(Elf64_Phdr));
    if (!hl_elf_within(h->e_phoff, h->e_phnum * sizeof(Elf64_Phdr),
                       file->size))
        return hl_why(file->why, -ENOEXEC,
                      "the program headers end past the end of the file");
    return 0;
}

/* Checks of a single segment. */
static int check_segment(const struct hl_elf_file *file, const Elf64_Phdr *ph,
                         bool pie)
{
    if (ph->p_filesz > ph->p_memsz)
        return hl_why(file->why, -ENOEXEC,
                      "the segment at 0x%" PRIx64 " has more bytes in the "
                      "file than in memory",
                      ph->p_vaddr);
    /* If it has no bytes in the file, its offset means nothing. */
    if (ph->p_filesz != 0 &&
        !hl_elf_within(ph->p_offset, ph->p_filesz, file->size))
        return hl_why(file->why, -ENOEXEC,
                      "the segment at 0x%" PRIx64 " ends past the end of the "
                      "file, which may have been cut short",
                      ph->p_vaddr);
    if (!hl_elf_within(ph->p_vaddr, ph->p_memsz, HL_ELF_HIGH_LIMIT))
        return hl_why(file->why, -ENOEXEC,
                      "the segment at 0x%" PRIx64 " does not end below 3 GiB: "
                      "link with -Wl,-Ttext-segment=0x400000 or -static-pie",
                      ph->p_vaddr);
    if (!pie && ph->p_vaddr < HL_ELF_LOW_LIMIT)
        return hl_why(file->why, -ENOEXEC,
                      "the segment at 0x%" PRIx64 " is not above 1 MiB: "
                      "link with -Wl,-Ttext-segment=0x400000 or -static-pie",
                      ph->p_vaddr);
    if (ph->p_align > ALIGN_LIMIT ||
        (ph->p_align != 0 && !power_of_two(ph->p_align)))
        return hl_why(file->why, -ENOEXEC,
                      "the segment at 0x%" PRIx64 " is aligned to 0x%" PRIx64
                      ": link with -z max-page-size=4096",
                      ph->p_vaddr, ph->p_align);
    if ((ph->p_flags & PF_W) != 0 && (ph->p_flags & PF_X) != 0)
        return hl_why(file->why, -ENOEXEC,
                      "the segment at 0x%" PRIx64 " is writable and "
                      "executable: link with -z separate-code, without -N",
                      ph->p_vaddr);
    return 0;
}

/* Add a checked segment, or join it to the last.  *end is where that ended, to
 * the byte. */
static int add_segment(const struct hl_elf_file *file, const Elf64_Phdr *ph,
                       struct hl_elf *elf, uint64_t *end)
{
    uint64_t first = ph->p_vaddr & ~(PAGE - 1);
    uint64_t past = page_up(ph->p_vaddr + ph->p_memsz);
    unsigned perms = HL_PERM_READ |
                     (ph->p_flags & PF_W ? (unsigned)HL_PERM_WRITE : 0) |
                     (ph->p_flags & PF_X ? (unsigned)HL_PERM_EXECUTE : 0);
    struct hl_elf_segment *last = NULL;

    if (ph->p_vaddr < *end)
        return hl_why(file->why, -ENOEXEC,
                      "the segment at 0x%" PRIx64 " overlaps the one before "
                      "it, or they are out of order",
                      ph->p_vaddr);
    if (elf->segment_count != 0)
        last = &elf->segments[elf->segment_count - 1];
    *end = ph->p_vaddr + ph->p_memsz;
    if (last != NULL && first <= elf->high && perms == last->perms) {
        last->size = past - last->addr;
    } else if (last != NULL && first < elf->high) {
        return hl_why(file->why, -ENOEXEC,
                      "segments of different permissions share the page at "
                      "0x%" PRIx64 ": link with -z max-page-size=4096 "
                      "-z separate-code",
                      first);
    } else if (elf->segment_count == HL_ELF_SEGMENTS) {
        return hl_why(file->why, -ENOEXEC,
                      "it has more than %d segments: link without a linker "
                      "script of your own, or merge sections in it",
                      HL_ELF_SEGMENTS);
    } else {
        elf->segments[elf->segment_count++] =
            (struct hl_elf_segment){first, past - first, perms};
    }
    elf->high = past;
    return 0;
}

static int read_interpreter(const struct hl_elf_file *file,
                            const Elf64_Phdr *ph, struct hl_elf *elf)
{
    const char *path = (const char *)file->bytes + ph->p_offset;

    if (ph->p_filesz < 2 ||
        !hl_elf_within(ph->p_offset, ph->p_filesz, file->size) ||
        memchr(path, '\0', ph->p_filesz) != path + ph->p_filesz - 1)
        return hl_why(file->why, -ENOEXEC,
                      "the path of its interpreter (PT_INTERP) is invalid");
    elf->interpreter = ph->p_offset;
    elf->interpreter_size = ph->p_filesz;
    return 0;
}

static int read_segments(const struct hl_elf_file *file, struct hl_elf *elf)
{
    uint64_t end = 0;
    Elf64_Phdr ph;

    if (hl_elf_find(file, PT_INTERP, &ph) != 0) {
        if (!elf->is_program)
            return hl_why(file->why, -ENOEXEC, HL_ELF_NOT_STATIC);
        int err = read_interpreter(file, &ph, elf);
        if (err < 0)
            return err;
    }
    for (size_t i = 0; i < file->header.e_phnum; i++) {
        ph = hl_elf_program_header(file, i);
        if (ph.p_type == PT_GNU_STACK && (ph.p_flags & PF_X) != 0)
            return hl_why(file->why, -ENOEXEC,
                          "it asks for an executable stack: link with "
                          "-z noexecstack");
        if (ph.p_type != PT_LOAD || (ph.p_memsz == 0 && ph.p_filesz == 0))
            continue;
        int err = check_segment(file, &ph, elf->pie);
        if (err == 0)
            err = add_segment(file, &ph, elf, &end);
        if (err < 0)
            return err;
        if (elf->align < ph.p_align)
            elf->align = ph.p_align;
    }
    return 0;
}

/* Checks of all segments together. */
static int check_image(const struct hl_elf_file *file, struct hl_elf *elf)
{
    /* Also refuses an image without segments, before the first is used. */
    if (!hl_elf_holds(elf, elf->entry, 1, HL_PERM_EXECUTE))
        return hl_why(file->why, -ENOEXEC,
                      "the entry point 0x%" PRIx64 " is not in an executable "
                      "segment: is there a _start?",
                      elf->entry);
    elf->low = elf->segments[0].addr;
    if (elf->high - elf->low > HL_ELF_SIZE_LIMIT)
        return hl_why(file->why, -ENOEXEC,
                      "it takes up 0x%" PRIx64 " bytes of addresses, which is "
                      "more than 1 GiB",
                      elf->high - elf->low);
    elf->writable = elf->high;
    for (size_t i = elf->segment_count; i-- > 0;)
        if ((elf->segments[i].perms & HL_PERM_WRITE) != 0)
            elf->writable = elf->segments[i].addr;
    return 0;
}

static int read_tls(const struct hl_elf_file *file, struct hl_elf *elf)
{
    Elf64_Phdr ph;
    size_t count = hl_elf_find(file, PT_TLS, &ph);

    elf->tls_align = 1;
    if (count == 0 || (count == 1 && ph.p_memsz == 0 && ph.p_filesz == 0))
        return 0;
    if (count > 1 || ph.p_filesz > ph.p_memsz ||
        ph.p_memsz > HL_ELF_SIZE_LIMIT)
        return hl_why(file->why, -ENOEXEC,
                      "its thread-local variables (PT_TLS) are invalid");
    if (ph.p_align > TLS_ALIGN_LIMIT ||
        (ph.p_align != 0 && !power_of_two(ph.p_align)))
        return hl_why(file->why, -ENOEXEC,
                      "its thread-local variables are aligned to 0x%" PRIx64
                      ": at most 4096 is supported",
                      ph.p_align);
    /* If they are all zero, their address is not used, but it should not be
     * misleading either. */
    if (!(ph.p_filesz == 0
              ? ph.p_vaddr >= elf->low && ph.p_vaddr <= elf->high
              : hl_elf_holds(elf, ph.p_vaddr, ph.p_filesz, HL_PERM_READ)))
        return hl_why(file->why, -ENOEXEC,
                      "its thread-local variables at 0x%" PRIx64 " are not in "
                      "any segment",
                      ph.p_vaddr);
    elf->tls_addr = ph.p_vaddr;
    elf->tls_file_size = ph.p_filesz;
    elf->tls_size = ph.p_memsz;
    if (ph.p_align != 0)
        elf->tls_align = ph.p_align;
    return 0;
}

static void find_headers(const struct hl_elf_file *file, struct hl_elf *elf)
{
    uint64_t at = file->header.e_phoff;

    elf->header_count = file->header.e_phnum;
    for (size_t i = 0; i < file->header.e_phnum; i++) {
        Elf64_Phdr ph = hl_elf_program_header(file, i);
        if (ph.p_type == PT_LOAD && at >= ph.p_offset &&
            hl_elf_within(at - ph.p_offset,
                          elf->header_count * sizeof(Elf64_Phdr), ph.p_filesz))
            elf->headers = ph.p_vaddr + (at - ph.p_offset);
    }
}

/* Everything but the relocations. */
static int read_all(struct hl_elf_file *file, bool is_program,
                    struct hl_elf *elf)
{
    int err = read_header(file);

    if (err < 0)
        return err;
    *elf = (struct hl_elf){
        .pie = file->header.e_type == ET_DYN,
        .align = PAGE,
        .entry = file->header.e_entry,
        .is_program = is_program,
    };
    err = read_segments(file, elf);
    if (err == 0)
        err = check_image(file, elf);
    if (err == 0)
        err = read_tls(file, elf);
    find_headers(file, elf);
    return err;
}

int hl_elf_read(const void *file, size_t size, struct hl_elf *elf, char *why)
{
    struct hl_elf_file in = {.bytes = file, .size = size, .why = why};
    struct hl_elf new;

    int err = read_all(&in, false, &new);
    if (err == 0)
        err = hl_elf_relocate(&in, &new, 0, NULL);
    if (err == 0)
        *elf = new;
    return err;
}

int hl_elf_read_program(const void *file, size_t size, struct hl_elf *elf,
                        char *why)
{
    struct hl_elf_file in = {.bytes = file, .size = size, .why = why};
    struct hl_elf new;

    int err = read_all(&in, true, &new);
    if (err == 0)
        *elf = new;
    return err;
}

int hl_elf_load(const struct hl_elf *elf, const void *file, size_t size,
                uint64_t base, void *memory, char *why)
{
    struct hl_elf_file in = {.bytes = file, .size = size, .why = why};
    struct hl_elf now;

    /* Cheap, and ensures that both arguments are of the same file. */
    int err = read_all(&in, elf->is_program, &now);
    if (err < 0)
        return err;
    if (now.low != elf->low || now.high != elf->high || now.pie != elf->pie)
        return hl_why(why, -EINVAL, "this is not the file that was read");
    if (now.pie ? base % now.align != 0 || base > UINT64_MAX - now.high
                : base != 0)
        return hl_why(why, -EINVAL, "it cannot be put at 0x%" PRIx64, base);
    for (size_t i = 0; i < in.header.e_phnum; i++) {
        Elf64_Phdr ph = hl_elf_program_header(&in, i);
        if (ph.p_type == PT_LOAD && ph.p_filesz != 0)
            memcpy((char *)memory + (ph.p_vaddr - now.low),
                   in.bytes + ph.p_offset, ph.p_filesz);
    }
    return elf->is_program ? 0 : hl_elf_relocate(&in, &now, base, memory);
}
