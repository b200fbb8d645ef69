#include "abi/linux/stack.h"

#include <string.h>

#include "os/memory.h"
#include "vm/slots.h"

enum {
    AT_NULL_ = 0,
    AT_PHDR_ = 3,
    AT_PHENT_,
    AT_PHNUM_,
    AT_PAGESZ_,
    AT_BASE_,
    AT_FLAGS_,
    AT_ENTRY_,
    AT_UID_ = 11,
    AT_EUID_,
    AT_GID_,
    AT_EGID_,
    AT_PLATFORM_,
    AT_HWCAP_,
    AT_CLKTCK_,
    AT_SECURE_ = 23,
    AT_RANDOM_ = 25,
    AT_EXECFN_ = 31,
};

#define PROGRAM_HEADER 56 /* bytes */
#define WORD sizeof(uint64_t)

/* The stack's end, from its last byte downwards. */
struct filling {
    char *host;    /* of `addr` */
    uint64_t addr; /* what is filled in begins there */
};

static uint64_t push(struct filling *f, const void *bytes, size_t size)
{
    f->addr -= size;
    f->host -= size;
    memcpy(f->host, bytes, size);
    return f->addr;
}

/* The texts lie one behind the other from `at` on.  How many are there is
 * checked, not believed. */
static int push_addresses(const struct hl_start *start, uint64_t at,
                          uint64_t *words, size_t *count)
{
    size_t n = 0, left = start->size, used = 0;
    const size_t texts = start->argument_count + start->variable_count;

    for (size_t i = 0; i < texts; i++) {
        const char *text = start->texts + used;
        const char *end = left ? memchr(text, '\0', left) : NULL;
        if (end == NULL)
            return -EINVAL;
        words[n++] = at + used;
        if (i + 1 == start->argument_count)
            words[n++] = 0;
        used += (size_t)(end - text) + 1;
        left -= (size_t)(end - text) + 1;
    }
    words[n++] = 0;
    *count = n;
    return left ? -EINVAL : 0;
}

/* Pairs, the last of zeros.  Capabilities are those that each x86-64 processor
 * has: a program asks CPUID for others. */
static size_t auxiliary(const struct hl_abi_config *c, uint64_t interpreter,
                        uint64_t random, uint64_t platform, uint64_t name,
                        uint64_t *words)
{
    const struct hl_elf *elf = c->image.elf;
    uint64_t headers = elf->headers ? c->image.base + elf->headers : 0;
    const uint64_t pairs[][2] = {
        {AT_PHDR_, headers},
        {AT_PHENT_, PROGRAM_HEADER},
        {AT_PHNUM_, headers ? elf->header_count : 0},
        {AT_PAGESZ_, 4096},
        {AT_BASE_, interpreter},
        {AT_FLAGS_, 0},
        {AT_ENTRY_, c->image.base + elf->entry},
        {AT_UID_, 0},
        {AT_EUID_, 0},
        {AT_GID_, 0},
        {AT_EGID_, 0},
        {AT_PLATFORM_, platform},
        {AT_HWCAP_, 0x078bfbff},
        {AT_CLKTCK_, 100},
        {AT_SECURE_, 0},
        {AT_RANDOM_, random},
        {AT_EXECFN_, name},
        {AT_NULL_, 0},
    };

    memcpy(words, pairs, sizeof pairs);
    return sizeof pairs / WORD;
}

#define MOST_AUXILIARY 64

int hl_linux_fill_stack(const struct hl_abi_config *c,
                        const struct hl_vm_config *vm, uint64_t interpreter,
                        uint64_t *rsp, char *why)
{
    const struct hl_start *start = &c->start;
    char *stack = hl_vm_host(vm, c->stack.addr, c->stack.size);
    char random[16];
    uint64_t argc = start->argument_count, aux[MOST_AUXILIARY];
    size_t count;

    if (stack == NULL)
        return hl_why(why, -EINVAL, "the stack is not in any slot");
    if (argc == 0 || start->size == 0)
        return hl_why(why, -EINVAL, "a program needs its name");
    if (start->size > c->stack.size / 4 || argc > start->size ||
        start->variable_count > start->size ||
        (argc + start->variable_count) * WORD > c->stack.size / 4)
        return hl_why(why, -E2BIG,
                      "arguments and environment take more than a quarter of "
                      "the stack (%zu bytes)",
                      (size_t)c->stack.size);
    int err = hl_random(random, sizeof random);
    if (err < 0)
        return hl_why(why, err, "random bytes: %s", strerror(-err));
    struct filling f = {stack + c->stack.size, c->stack.addr + c->stack.size};
    f.addr -= WORD; /* the last word is zero */
    f.host -= WORD;
    uint64_t texts = push(&f, start->texts, start->size);
    uint64_t platform = push(&f, "x86_64", sizeof "x86_64");
    uint64_t chance = push(&f, random, sizeof random);
    size_t aux_count = auxiliary(c, interpreter, chance, platform, texts, aux);

    /* RSP is a multiple of 16, and the words above it are as many as they
     * are. */
    size_t words = 1 + argc + 1 + start->variable_count + 1 + aux_count;
    size_t down = (size_t)(f.addr & 15) + words % 2 * WORD;
    f.addr -= down;
    f.host -= down;
    (void)push(&f, aux, aux_count * WORD);
    f.addr -= (words - 1 - aux_count) * WORD;
    f.host -= (words - 1 - aux_count) * WORD;
    err = push_addresses(start, texts, (uint64_t *)(void *)f.host, &count);
    if (err < 0)
        return hl_why(why, err, "arguments and environment are not %zu texts",
                      (size_t)(argc + start->variable_count));
    *rsp = push(&f, &argc, sizeof argc);
    return 0;
}
