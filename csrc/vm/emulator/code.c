/* The guest's code, before and after Unicorn translates it: E4 and E5 of
 * run.c. */
#include <string.h>

#include "vm/emulator/machine.h"
#include "vm/slots.h"

#define PAGE ((uint64_t)4096)

static bool in_span(uint64_t addr, uint64_t start, uint64_t size)
{
    return addr >= start && addr - start < size;
}

/* Code of the guest: as much of `most` bytes as there is. */
static size_t read_code(const struct hl_emulator *e, uint64_t addr,
                        uint8_t *code, size_t most)
{
    size_t done = 0;

    while (done < most) {
        uint64_t at = addr + done;
        const uint8_t *host = hl_vm_host(&e->config, at, 1);
        size_t rest = (size_t)(PAGE - at % PAGE);
        if (host == NULL)
            break;
        if (rest > most - done)
            rest = most - done;
        memcpy(code + done, host, rest);
        done += rest;
    }
    return done;
}

void hl_emulator_read_instruction(const struct hl_emulator *e, uint64_t addr,
                                  uint8_t *code, struct hl_insn *out)
{
    hl_insn_read(code, read_code(e, addr, code, HL_INSN_MAX), out);
}

/* E4: is there an instruction in these that must not be executed?  Where
 * Unicorn counts more instructions than there are, it took them for others. */
bool hl_emulator_is_suspect(const struct hl_emulator *e,
                            const struct hl_uc_block *block, uint64_t *where)
{
    uint64_t at = block->address, end = at + block->size;
    uint8_t code[HL_INSN_MAX];
    struct hl_insn insn;

    *where = at;
    for (unsigned n = 1; at < end; n++) {
        *where = at;
        hl_emulator_read_instruction(e, at, code, &insn);
        if (insn.verdict != HL_INSN_KNOWN)
            return true;
        if (n == block->instructions || insn.length == 0)
            return false;
        at += insn.length;
    }
    return !hl_emulator_is_halt(e, at);
}

/* Is there code in it? */
static bool is_code(const struct hl_emulator *e, const struct hl_x86_region *r)
{
    bool found = r->perms & HL_PERM_EXECUTE;

    for (size_t i = 0; i < e->config.finer_count && !found; i++)
        found = e->config.finer[i].perms & HL_PERM_EXECUTE &&
                in_span(e->config.finer[i].addr, r->addr, r->size);
    return found;
}

size_t hl_emulator_code_pages(const struct hl_emulator *e)
{
    uint64_t pages = 0;

    for (size_t i = 0; i < e->config.region_count; i++)
        if (is_code(e, &e->config.regions[i]))
            pages += e->config.regions[i].size / PAGE;
    return (size_t)pages;
}

/* Its number among those pages; it is one of them. */
static size_t code_page(const struct hl_emulator *e, uint64_t addr)
{
    uint64_t page = 0;

    for (size_t i = 0; i < e->config.region_count; i++) {
        const struct hl_x86_region *r = &e->config.regions[i];
        if (in_span(addr, r->addr, r->size))
            return (size_t)(page + (addr - r->addr) / PAGE);
        if (is_code(e, r))
            page += r->size / PAGE;
    }
    return 0;
}

void hl_emulator_set_halts(struct hl_emulator *e)
{
    size_t count = e->halt_count;

    if (e->halt != HL_EMULATOR_NOWHERE)
        e->halts[count++] = e->halt;
    (void)e->uc->ctl(e->engine, HL_UC_CTL_EXITS, e->halts, count);
}

bool hl_emulator_is_halt(const struct hl_emulator *e, uint64_t addr)
{
    for (size_t i = 0; i < e->halt_count; i++)
        if (e->halts[i] == addr)
            return true;
    return addr == e->halt;
}

/* E5: a halt in front of whatever Unicorn would abort at.  No compiler makes
 * such instructions, but their bytes do occur across real ones. */
static bool find_halts(struct hl_emulator *e, uint64_t page, size_t size)
{
    size_t room = HL_EMULATOR_HALTS - e->halt_count;
    size_t count = hl_insn_fatal(e->code, size, e->weights, HL_INSN_PAGE);

    if (count > room)
        return false;
    if (count == 0)
        return true;
    for (size_t i = 0; i < count; i++)
        e->halts[e->halt_count++] = page + e->weights[i];
    hl_emulator_set_halts(e);
    return true;
}

/* E5: may Unicorn translate what is in this page? */
bool hl_emulator_vet(struct hl_emulator *e, uint64_t addr)
{
    uint64_t page = addr & ~(PAGE - 1);
    size_t number = code_page(e, page);
    uint64_t bit = UINT64_C(1) << number % 64;

    if (e->vetted[number / 64] & bit)
        return true;
    size_t size = read_code(e, page, e->code, sizeof e->code);
    if (!find_halts(e, page, size)) {
        hl_emulator_refuse(e, "too many invalid LOCK prefixes for the "
                              "emulator");
        return false;
    }
    if (hl_insn_heaviest(e->code, size, e->weights) > HL_INSN_MOST_WEIGHT) {
        hl_emulator_refuse(e, "too many x87 or SSE instructions without a "
                              "branch for the emulator");
        return false;
    }
    e->vetted[number / 64] |= bit;
    return true;
}
