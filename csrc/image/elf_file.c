#include "image/elf_file.h"

#include <string.h>

Elf64_Phdr hl_elf_program_header(const struct hl_elf_file *file, size_t i)
{
    Elf64_Phdr ph;

    memcpy(&ph, file->bytes + file->header.e_phoff + i * sizeof ph, sizeof ph);
    return ph;
}

size_t hl_elf_find(const struct hl_elf_file *file, uint32_t type,
                   Elf64_Phdr *found)
{
    size_t count = 0;

    for (size_t i = 0; i < file->header.e_phnum; i++) {
        Elf64_Phdr ph = hl_elf_program_header(file, i);
        if (ph.p_type == type) {
            *found = ph;
            count++;
        }
    }
    return count;
}

bool hl_elf_holds(const struct hl_elf *elf, uint64_t addr, uint64_t size,
                  unsigned perms)
{
    for (size_t i = 0; i < elf->segment_count; i++) {
        const struct hl_elf_segment *s = &elf->segments[i];
        if (addr >= s->addr && hl_elf_within(addr - s->addr, size, s->size))
            return (s->perms & perms) == perms;
    }
    return false;
}
