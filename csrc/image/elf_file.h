/* For the loader's own files: values from the file that are not yet checked.
 */
#ifndef HL_IMAGE_ELF_FILE_H
#define HL_IMAGE_ELF_FILE_H

#include "image/elf.h"
#include "image/elf_types.h"

#define HL_ELF_NOT_STATIC                                                     \
    "it is linked dynamically: link with -static or -static-pie"

struct hl_elf_file {
    const unsigned char *bytes;
    size_t size;
    Elf64_Ehdr header; /* its program headers are within the file */
    char *why;
};

/* Whether [first, first + size) ends at `end` or before. */
static inline bool hl_elf_within(uint64_t first, uint64_t size, uint64_t end)
{
    return first <= end && size <= end - first;
}

/* Program header i, by copy: nothing in the file need be aligned. */
Elf64_Phdr hl_elf_program_header(const struct hl_elf_file *file, size_t i);

/* How many program headers are of this type, and the last of them. */
size_t hl_elf_find(const struct hl_elf_file *file, uint32_t type,
                   Elf64_Phdr *found);

/* Whether one segment with these permissions has all of [addr, +size). */
bool hl_elf_holds(const struct hl_elf *elf, uint64_t addr, uint64_t size,
                  unsigned perms);

/* Apply the relocations of a file whose segments are good to memory, or, where
 * that is NULL, only check them.  On error some were applied. */
int hl_elf_relocate(const struct hl_elf_file *file, const struct hl_elf *elf,
                    uint64_t base, void *memory) HL_MUST_CHECK;

#endif
