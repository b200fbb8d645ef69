/* What a signal's context says of a fault: the records of arm64, which can be
 * read on any machine, and what this machine's kernel writes. */
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "os/memory.h"
#include "track/linux/context.h"
#include "track/linux/esr.h"

/* As Linux has them in asm/sigcontext.h. */
#define FPSIMD 0x46508001u
#define EXTRA 0x45585401u
#define SVE 0x53564501u

/* Data aborts from user code, permission fault of level 3. */
#define READ ((uint64_t)0x9200000f)
#define WRITE ((uint64_t)0x9200004f)
/* Cache maintenance, which is no write, though its bit says so. */
#define CLEANED ((uint64_t)0x9200014f)
/* Level 3 translation fault by a store, and code that may not be run. */
#define ABSENT ((uint64_t)0x92000047)
#define EXECUTED ((uint64_t)0x8200000f)

struct frame {
    size_t size;
    unsigned char bytes[4096];
};

static void add(struct frame *f, uint32_t magic, uint32_t size, uint64_t data)
{
    uint32_t head[2] = {magic, size};

    memcpy(f->bytes + f->size, head, sizeof head);
    if (size >= sizeof head + sizeof data)
        memcpy(f->bytes + f->size + sizeof head, &data, sizeof data);
    f->size += size;
}

static bool find(const struct frame *f, uint64_t *esr)
{
    return hl_esr_find(f->bytes, sizeof f->bytes, esr);
}

static void the_record_is_found(void)
{
    struct frame f = {0};
    uint64_t esr = 0;

    add(&f, FPSIMD, 528, 1);
    add(&f, HL_ESR_MAGIC, 16, WRITE);
    add(&f, SVE, 16, 2);
    add(&f, EXTRA, 32, 3);
    CHECK(find(&f, &esr) && esr == WRITE);
}

static void none_is_none(void)
{
    struct frame f = {0};
    uint64_t esr;

    CHECK(!find(&f, &esr)); /* ends at once */
    add(&f, FPSIMD, 528, 1);
    add(&f, 0, 0, 0);
    f.size += 16;
    add(&f, HL_ESR_MAGIC, 16, WRITE); /* behind the end */
    CHECK(!find(&f, &esr));
}

/* Exactly as large as it has to be, so that a sanitizer sees a byte more. */
static void nothing_is_read_outside(void)
{
    for (size_t size = 0; size < 64; size++) {
        unsigned char *records = malloc(size ? size : 1);
        uint64_t random = size + 1, esr;
        CHECK(records != NULL);
        for (int round = 0; round < 2000; round++) {
            for (size_t i = 0; i < size; i++)
                records[i] = (unsigned char)(next_random(&random) % 20);
            uint32_t magic = HL_ESR_MAGIC;
            if (size >= 4 && round % 2)
                memcpy(records + next_random(&random) % (size - 3), &magic, 4);
            (void)hl_esr_find(records, size, &esr);
        }
        free(records);
    }
}

/* A record whose size is a lie: too small for its head, for its data, or
 * larger than what is left. */
static void damaged_lists_end(void)
{
    const uint32_t sizes[] = {0, 4, 8, 15, 4097, UINT32_MAX};
    uint64_t esr;

    for (size_t i = 0; i < HL_ARRAY_SIZE(sizes); i++) {
        struct frame f = {0};
        uint32_t head[2] = {HL_ESR_MAGIC, sizes[i]};
        memcpy(f.bytes, head, sizeof head);
        CHECK(!find(&f, &esr));
    }
}

static void syndromes_say_what_failed(void)
{
    CHECK(hl_esr_is_write(WRITE) && hl_esr_is_present(WRITE));
    CHECK(!hl_esr_is_write(READ) && hl_esr_is_present(READ));
    CHECK(!hl_esr_is_write(CLEANED));
    CHECK(hl_esr_is_write(ABSENT) && !hl_esr_is_present(ABSENT));
    /* The bit belongs to data aborts alone. */
    CHECK(!hl_esr_is_write(EXECUTED) && !hl_esr_is_write(EXECUTED | 1u << 6));
}

static sigjmp_buf after;
static volatile bool wrote, present, by_kernel, by_other;
static const struct sigaction *next;

__attribute__((noinline)) static void look(int signal, siginfo_t *info,
                                           void *context)
{
    (void)signal;
    bool direct = hl_context_is_from_kernel(
        context, __builtin_frame_address(0), __builtin_return_address(0));
    if (next == NULL) {
        by_other = direct;
        siglongjmp(after, 1);
    }
    by_kernel = direct;
    wrote = hl_context_is_write(context, (uintptr_t)info->si_addr);
    present = hl_context_is_present(context);
    const struct sigaction *action = next;
    next = NULL;
    action->sa_sigaction(signal, info, context);
    by_other = true; /* so that the call above is no jump */
}

enum access { READS, WRITES, EXECUTES };

static void access_it(char *page, enum access access)
{
    void (*code)(void);

    if (access == READS)
        (void)*(volatile char *)page;
    else if (access == WRITES)
        *(volatile char *)page = 1;
    else {
        memcpy(&code, &page, sizeof code);
        code();
    }
}

static void fault_on(char *page, int prot, enum access access)
{
    struct sigaction action = {.sa_sigaction = look,
                               .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction before;

    wrote = present = by_kernel = false;
    by_other = true;
    next = &action;
    CHECK(sigaction(SIGSEGV, &action, &before) == 0);
    CHECK(mprotect(page, hl_page_size(), prot) == 0);
    if (sigsetjmp(after, 1) == 0) {
        access_it(page, access);
        CHECK(!"it did not fault");
    }
    CHECK(sigaction(SIGSEGV, &before, NULL) == 0);
}

static void this_machine_tells(void)
{
    char *page = mmap(NULL, hl_page_size(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(page != MAP_FAILED);
    page[0] = 1;
    fault_on(page, PROT_READ, WRITES);
    CHECK(wrote);
#if defined(__x86_64__) || defined(__aarch64__)
#if !defined(__SANITIZE_THREAD__) /* which calls handlers itself */
    CHECK(by_kernel && !by_other);
#endif
    bool told = present; /* by user-mode QEMU: not at all */
    fault_on(page, PROT_READ, EXECUTES);
    CHECK(!wrote);
    fault_on(page, PROT_NONE, READS);
    CHECK(!told || !wrote);
    printf("%s\n", told ? "the kernel tells writes from reads"
                        : "skipped: nothing tells writes from reads");
#endif
    CHECK(munmap(page, hl_page_size()) == 0);
}

int main(void)
{
    RUN(the_record_is_found);
    RUN(none_is_none);
    RUN(nothing_is_read_outside);
    RUN(damaged_lists_end);
    RUN(syndromes_say_what_failed);
    RUN(this_machine_tells);
    return 0;
}
