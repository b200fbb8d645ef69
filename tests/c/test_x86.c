/* The machine code around a guest, byte for byte what an assembler makes of
 * the instructions that it is meant to be. */
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "check.h"
#include "image/x86.h"

#if defined(__x86_64__)

#define TABLES ((uint64_t)0x10000)

_Static_assert(offsetof(struct hl_x86_entry, rax) == 2688, "written below");
_Static_assert(offsetof(struct hl_x86_entry, rcx) == 2696, "written below");
_Static_assert(offsetof(struct hl_x86_entry, rdx) == 2704, "written below");
_Static_assert(offsetof(struct hl_x86_entry, rip) == 2712, "written below");
_Static_assert(offsetof(struct hl_x86_entry, pkru) == 2720, "written below");
_Static_assert(HL_X86_ENTRY_CODE == 128, "written below");
_Static_assert(HL_PORT_GUEST == 0x48, "written below");
_Static_assert(HL_PORT_EXCEPTION == 0x49, "written below");

/* A page of code; its data are on the next one. */
__asm__(".pushsection .rodata\n"
        ".balign 4096\n"
        "entry_page:\n"
        ".set rax, entry_page + 4096 + 2688\n"
        ".set rcx, entry_page + 4096 + 2696\n"
        ".set rdx, entry_page + 4096 + 2704\n"
        ".set rip, entry_page + 4096 + 2712\n"
        ".set pkru, entry_page + 4096 + 2720\n"
        "fnclex\n"
        "emms\n"
        "fildl rip(%rip)\n"
        "mov $-1, %eax\n"
        "mov $-1, %edx\n"
        "xrstor64 entry_page + 4096(%rip)\n"
        "mov rax(%rip), %rax\n"
        "mov rdx(%rip), %rdx\n"
        "jmp *rip(%rip)\n"
        ".org entry_page + 128\n"
        "mov $0, %ecx\n"
        "mov $0, %edx\n"
        "mov $0, %eax\n"
        "wrpkru\n"
        "fnclex\n"
        "emms\n"
        "fildl rip(%rip)\n"
        "mov $-1, %eax\n"
        "mov $-1, %edx\n"
        "xrstor64 entry_page + 4096(%rip)\n"
        "mov $0, %edx\n"
        "mov pkru(%rip), %eax\n"
        "wrpkru\n"
        "mov rcx(%rip), %rcx\n"
        "mov rax(%rip), %rax\n"
        "mov rdx(%rip), %rdx\n"
        "jmp *rip(%rip)\n"
        ".org entry_page + 0xe00\n"
        "mov $0, %ecx\n"
        "rdpkru\n"
        "out %al, $0x48\n"
        ".org entry_page + 0xf00\n"
        "ud2\n"
        ".org entry_page + 4096\n"
        ".popsection\n");
extern const char entry_page[];

/* 32 stubs of 16 bytes; these vectors have an error code on the stack. */
__asm__(".pushsection .rodata\n"
        "stub_page:\n"
        ".set vector, 0\n"
        ".rept 32\n"
        "0:\n"
        ".if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && "
        "vector != 21 && vector != 29 && vector != 30\n"
        "push $0\n"
        ".endif\n"
        ".byte 0x6a, vector\n" /* push $vector, always in its short form */
        "out %al, $0x49\n"
        ".fill 16 - (. - 0b), 1, 0xf4\n" /* hlt */
        ".set vector, vector + 1\n"
        ".endr\n"
        ".org stub_page + 0xf00\n"
        "iretq\n"
        ".org stub_page + 4096\n"
        ".popsection\n");
extern const char stub_page[];

static void test_code_is_what_an_assembler_makes(void)
{
    const struct hl_x86_region region = {0x400000, 4096, HL_PERM_READ};
    size_t size = hl_x86_tables_size(TABLES, &region, 1);
    char *memory = calloc(1, size);
    struct hl_x86_tables tables;

    CHECK(memory);
    CHECK(hl_x86_build(memory, size, TABLES, &region, 1, &tables) == 0);
    CHECK(tables.entry_data == tables.entry + 4096);
    CHECK(tables.entry_pkru == tables.entry + 128);
    CHECK(tables.rdpkru == tables.entry + 0xe00);
    CHECK(tables.system_call == tables.entry + 0xf00);
    CHECK(memcmp(memory + (tables.entry - TABLES), entry_page, 4096) == 0);
    uint64_t stubs = tables.iret - 0xf00;
    CHECK(memcmp(memory + (stubs - TABLES), stub_page, 4096) == 0);
    free(memory);
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
static long faults(void)
{
    struct rusage usage;

    CHECK(getrusage(RUSAGE_THREAD, &usage) == 0);
    return usage.ru_minflt;
}

/* Build tables in fresh memory; returns by how much there were more faults
 * than pages. */
static long faults_too_many(void)
{
    const struct hl_x86_region regions[] = {
        {0x400000, 4096, HL_PERM_READ},
        {0x7f0000000000, 4096, HL_PERM_READ},
    };
    static unsigned char resident[64];
    struct hl_x86_tables tables;
    size_t size = hl_x86_tables_size(TABLES, regions, 2);
    long pages = 0;

    CHECK(size / 4096 <= sizeof resident);
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    (void)madvise(memory, size, MADV_NOHUGEPAGE);
    long before = faults();
    CHECK(hl_x86_build(memory, size, TABLES, regions, 2, &tables) == 0);
    long after = faults();
    CHECK(mincore(memory, size, resident) == 0);
    for (size_t i = 0; i < size / 4096; i++)
        pages += resident[i] & 1;
    CHECK(munmap(memory, size) == 0);
    return after - before - pages;
}
#endif

/* No page is read before it is written: that would be two each time, and the
 * first time is of this code's own pages, too. */
static void test_a_page_is_one_fault(void)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    puts("skipped: the sanitizer's own pages are faults, too");
#else
    long least = faults_too_many();

    for (int i = 0; i < 5; i++) {
        long again = faults_too_many();
        least = again < least ? again : least;
    }
    CHECK(least <= 0);
#endif
}

int main(void)
{
    RUN(test_a_page_is_one_fault);
    RUN(test_code_is_what_an_assembler_makes);
    return 0;
}

#else

int main(void) { return 0; }

#endif
