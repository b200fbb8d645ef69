#include "image/elf_file.h"

#include <inttypes.h>
#include <string.h>

#include "image/x86.h"
#include "why.h"

/* Younger than some C libraries that this is built with. */
#ifndef DT_RELR
#define DT_RELRSZ 35
#define DT_RELR 36
#define DT_RELRENT 37
#endif

/* Where relocations go. */
struct target {
    const struct hl_elf *elf;
    unsigned char *memory; /* NULL: only check them */
    uint64_t base;
    char *why;
};

enum { RELA, RELA_PLT, RELR, TABLES };

/* A table of relocations, as PT_DYNAMIC has it. */
struct table {
    uint64_t addr, size, entry_size;
};

/* The bytes of the file that become [addr, addr + size), size not 0, or NULL.
 * From the file, not from memory: relocations may well aim at their own
 * tables. */
static const unsigned char *file_at(const struct hl_elf_file *file,
                                    uint64_t addr, uint64_t size)
{
    for (size_t i = 0; i < file->header.e_phnum; i++) {
        Elf64_Phdr ph = hl_elf_program_header(file, i);
        if (ph.p_type == PT_LOAD && addr >= ph.p_vaddr &&
            hl_elf_within(addr - ph.p_vaddr, size, ph.p_filesz))
            return file->bytes + ph.p_offset + (addr - ph.p_vaddr);
    }
    return NULL;
}

static int read_dynamic_entry(const struct hl_elf_file *file,
                              const Elf64_Dyn *entry, struct table *tables)
{
    uint64_t value = entry->d_un.d_val;

    switch (entry->d_tag) {
    case DT_NEEDED:
        return hl_why(file->why, -ENOEXEC, HL_ELF_NOT_STATIC);
    case DT_RELA:
        tables[RELA].addr = value;
        break;
    case DT_RELASZ:
        tables[RELA].size = value;
        break;
    case DT_RELAENT:
        tables[RELA].entry_size = value;
        break;
    case DT_JMPREL:
        tables[RELA_PLT].addr = value;
        break;
    case DT_PLTRELSZ:
        tables[RELA_PLT].size = value;
        break;
    case DT_RELR:
        tables[RELR].addr = value;
        break;
    case DT_RELRSZ:
        tables[RELR].size = value;
        break;
    case DT_RELRENT:
        tables[RELR].entry_size = value;
        break;
    case DT_PLTREL:
        if (value == DT_RELA)
            break;
        /* fall through */
    case DT_REL:
        return hl_why(file->why, -ENOEXEC,
                      "it has relocations without addends (DT_REL), which "
                      "x86-64 does not use");
    default:
        break;
    }
    return 0;
}

static int read_dynamic(const struct hl_elf_file *file, struct table *tables)
{
    Elf64_Phdr ph;
    Elf64_Dyn entry;
    size_t count = hl_elf_find(file, PT_DYNAMIC, &ph);

    if (count == 0 || ph.p_filesz == 0)
        return 0;
    const unsigned char *bytes = file_at(file, ph.p_vaddr, ph.p_filesz);
    if (count > 1 || bytes == NULL)
        return hl_why(file->why, -ENOEXEC,
                      "its PT_DYNAMIC is not in a segment, or not the only "
                      "one");
    for (size_t i = 0; i < ph.p_filesz / sizeof entry; i++) {
        memcpy(&entry, bytes + i * sizeof entry, sizeof entry);
        if (entry.d_tag == DT_NULL)
            break;
        int err = read_dynamic_entry(file, &entry, tables);
        if (err < 0)
            return err;
    }
    return 0;
}

/* Set the eight bytes at `place`, or add to their value. */
static int relocate(const struct target *to, uint64_t place, uint64_t value,
                    bool add)
{
    uint64_t old = 0;

    if (!hl_elf_holds(to->elf, place, sizeof value, HL_PERM_READ))
        return hl_why(to->why, -ENOEXEC,
                      "a relocation at 0x%" PRIx64 " is not in any segment",
                      place);
    if (to->memory == NULL)
        return 0;
    unsigned char *at = to->memory + (place - to->elf->low);
    if (add)
        memcpy(&old, at, sizeof old);
    value += old;
    memcpy(at, &value, sizeof value);
    return 0;
}

static int refuse_relocation(const struct target *to, const Elf64_Rela *rela)
{
    uint64_t type = ELF64_R_TYPE(rela->r_info);

    if (type == R_X86_64_TPOFF64)
        return hl_why(to->why, -ENOEXEC,
                      "it looks up thread-local variables by relocation "
                      "(R_X86_64_TPOFF64): compile with "
                      "-ftls-model=local-exec");
    if (type == R_X86_64_IRELATIVE)
        return hl_why(to->why, -ENOEXEC,
                      "it chooses functions when it starts "
                      "(R_X86_64_IRELATIVE): link without IFUNCs, and without "
                      "glibc, which has some");
    return hl_why(to->why, -ENOEXEC,
                  "relocation type %" PRIu64 ", symbol %" PRIu64 ": only "
                  "R_X86_64_RELATIVE is applied; link with -static-pie",
                  type, (uint64_t)ELF64_R_SYM(rela->r_info));
}

static int apply_rela(const struct target *to, const unsigned char *bytes,
                      size_t count)
{
    Elf64_Rela rela;
    int err = 0;

    for (size_t i = 0; i < count && err == 0; i++) {
        memcpy(&rela, bytes + i * sizeof rela, sizeof rela);
        if (rela.r_info == ELF64_R_INFO(0, R_X86_64_RELATIVE))
            err = relocate(to, rela.r_offset,
                           to->base + (uint64_t)rela.r_addend, false);
        else if (rela.r_info != ELF64_R_INFO(0, R_X86_64_NONE))
            err = refuse_relocation(to, &rela);
    }
    return err;
}

/* An even word is a place; bits 1 to 63 of an odd one select places among the
 * next 63, 8 bytes each.  A small file could name a place many times, so
 * places must ascend, as linkers write them: then there are no more of them
 * than words in the image. */
static int apply_relr(const struct target *to, const unsigned char *bytes,
                      size_t count)
{
    uint64_t word;
    uint64_t next = 0; /* the place of bit 1; 0: no place came yet */
    uint64_t past = 0; /* the last place that was relocated */

    for (size_t i = 0; i < count; i++) {
        memcpy(&word, bytes + i * sizeof word, sizeof word);
        bool is_place = (word & 1) == 0;
        if (is_place ? word < past : next == 0)
            return hl_why(to->why, -ENOEXEC,
                          "its packed relocations (DT_RELR) are out of order");
        if (is_place)
            next = word;
        uint64_t bits = is_place ? 1 : word >> 1;
        for (; bits != 0; bits &= bits - 1) {
            uint64_t place = next + 8 * (uint64_t)__builtin_ctzll(bits);
            int err = relocate(to, place, to->base, true);
            if (err < 0)
                return err;
            past = place + 8;
        }
        next += is_place ? 8 : (uint64_t)63 * 8;
    }
    return 0;
}

int hl_elf_relocate(const struct hl_elf_file *file, const struct hl_elf *elf,
                    uint64_t base, void *memory)
{
    const struct target to = {elf, memory, base, file->why};
    static const uint64_t entry_sizes[TABLES] = {
        sizeof(Elf64_Rela), sizeof(Elf64_Rela), sizeof(uint64_t)};
    struct table tables[TABLES];

    for (int i = 0; i < TABLES; i++)
        tables[i] = (struct table){.entry_size = entry_sizes[i]};
    int err = read_dynamic(file, tables);
    for (int i = 0; i < TABLES && err == 0; i++) {
        const struct table *t = &tables[i];
        if (t->size == 0)
            continue;
        const unsigned char *bytes = file_at(file, t->addr, t->size);
        if (bytes == NULL || t->entry_size != entry_sizes[i] ||
            t->size % entry_sizes[i] != 0)
            return hl_why(file->why, -ENOEXEC,
                          "its relocations (0x%" PRIx64 " bytes at 0x%" PRIx64
                          ") are not in the file, or cut short",
                          t->size, t->addr);
        size_t count = t->size / entry_sizes[i];
        err = i == RELR ? apply_relr(&to, bytes, count)
                        : apply_rela(&to, bytes, count);
    }
    return err;
}
