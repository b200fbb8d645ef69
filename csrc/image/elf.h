/* The guest loader: ELF files for x86-64, linked statically.
 *
 * The file is hostile.  No number in it is used before it was checked against
 * the size of the file, of the image or of the address space; nothing is
 * allocated, and the time is bounded by the size of file and image.
 *
 *  E1. An accepted image lies in [low, high), in segments that share no page;
 *      none is both writable and executable.
 *  E2. The entry point is in an executable segment.
 *  E3. hl_elf_load() writes only to segments, and reads only the file.
 *
 * The loader applies relocations: only the host can write to code and
 * constants.  All other services that a C library expects of its loader
 * (IFUNCs, libraries, symbols) are refused.  PT_GNU_RELRO is ignored: such
 * data stays writable.
 *
 * Pure: no system call, no lock. */
#ifndef HL_IMAGE_ELF_H
#define HL_IMAGE_ELF_H

#include "base.h"

#define HL_ELF_SEGMENTS 16

/* Below the first are the host's own addresses, at the second its devices. */
#define HL_ELF_LOW_LIMIT ((uint64_t)1 << 20)
#define HL_ELF_HIGH_LIMIT ((uint64_t)3 << 30)
#define HL_ELF_SIZE_LIMIT ((uint64_t)1 << 30)

struct hl_elf_segment {
    uint64_t addr, size; /* whole pages, those that start as zeros included */
    unsigned perms;      /* enum hl_perm; always readable */
};

struct hl_elf {
    bool pie;       /* addresses are relative to a base of the loader's choice,
                       and low may be 0 */
    uint64_t align; /* the base is a multiple of this: 4096 to 2 MiB */
    uint64_t entry;
    uint64_t low, high; /* page-aligned, below HL_ELF_HIGH_LIMIT */
    uint64_t writable;  /* page-aligned; all that is writable, and what lies
                           between, is from here to high, which it equals if
                           nothing is */

    bool is_program; /* of Linux, whose own start relocates it */

    /* Where in the file of a program the path of its interpreter is, which
     * loads it, with its NUL; size 0: it is linked statically. */
    uint64_t interpreter, interpreter_size;

    /* Where its program headers are loaded, or 0: nowhere. */
    uint64_t headers;
    size_t header_count;

    /* Thread-local variables.  The first tls_file_size bytes lie in a segment
     * (copy them after hl_elf_load, which relocates them), the others are
     * zero.  tls_size 0: there are none. */
    uint64_t tls_addr, tls_file_size, tls_size;
    uint64_t tls_align; /* a power of two up to 4096 */

    /* Ascending, without overlap; neighbours differ in perms. */
    size_t segment_count;
    struct hl_elf_segment segments[HL_ELF_SEGMENTS];
};

/* Parse file[0..size), including relocations.  -ENOEXEC: it cannot be a guest;
 * *elf is unchanged, and `why` (HL_WHY_SIZE) says what is wrong and, if that
 * helps, how to link it. */
int hl_elf_read(const void *file, size_t size, struct hl_elf *elf,
                char *why) HL_MUST_CHECK;

/* The same for a program of Linux: relocations are its own affair, and not
 * even looked at. */
int hl_elf_read_program(const void *file, size_t size, struct hl_elf *elf,
                        char *why) HL_MUST_CHECK;

/* Put that file into memory[0..high - low), zeroed, which the guest has at
 * base + low, and relocate it, unless it is a program.  The base is 0 unless
 * pie.  On error the content of memory is undefined: -EINVAL for an invalid
 * base or a file other than the one that was read, else as hl_elf_read. */
int hl_elf_load(const struct hl_elf *elf, const void *file, size_t size,
                uint64_t base, void *memory, char *why) HL_MUST_CHECK;

#endif
