/* Real programs, linked statically against this machine's C library, on every
 * driver whose system calls leave; mshv over its fake. */
#include <inttypes.h>
#include <unistd.h>

#include "abi/linux/linux.h"
#include "fake/mshv/fake.h"
#include "inject.h"
#include "machine_bed.h"
#include "sandbox.h"

#define LOW ((uint64_t)0x10000)
#define ARENA ((uint64_t)0x10000000)
#define ARENA_SIZE ((uint64_t)32 << 20)
#define STACK_SIZE ((uint64_t)1 << 20)
#define KERNEL ((uint64_t)0x20000000)
#define PIE_BASE ((uint64_t)0x400000)

static char reason[HL_WHY_SIZE];

/* They are in a folder beside this test. */
static char *read_program(const char *name, size_t *size)
{
    char path[512];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path / 2);

    CHECK(length > 0 && (size_t)length < sizeof path / 2);
    path[length] = '\0';
    snprintf(strrchr(path, '/'), sizeof path / 2, "/programs/%s", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    CHECK(fseek(file, 0, SEEK_END) == 0);
    *size = (size_t)ftell(file);
    char *bytes = malloc(*size);
    rewind(file);
    CHECK(fread(bytes, 1, *size, file) == *size);
    fclose(file);
    return bytes;
}

/* As a layout does it: the image, an arena, a stack, what a kernel keeps. */
static void lay_out(struct hl_sandbox_config *c, const struct hl_elf *elf,
                    uint64_t base)
{
    uint64_t kernel = hl_linux_kernel_size(1024);
    size_t n = 0, slot = 0;

    for (; n < elf->segment_count; n++)
        c->regions[n] = (struct hl_x86_region){
            base + elf->segments[n].addr,
            elf->segments[n].size,
            elf->segments[n].perms | HL_PERM_READ,
        };
    uint64_t stack = ARENA + ARENA_SIZE + PAGE;
    c->regions[n++] = (struct hl_x86_region){ARENA, ARENA_SIZE,
                                             HL_PERM_READ | HL_PERM_WRITE};
    c->regions[n++] = (struct hl_x86_region){stack, STACK_SIZE,
                                             HL_PERM_READ | HL_PERM_WRITE};
    c->region_count = n;
    size_t tables = hl_x86_tables_size(LOW, c->regions, n);
    c->tables = (struct hl_span){LOW, tables};
    uint64_t low = base + elf->low, written = base + elf->writable;
    c->slots[slot++] = (struct hl_machine_slot){LOW, tables, false};
    c->slots[slot++] = (struct hl_machine_slot){low, written - low, false};
    c->slots[slot++] =
        (struct hl_machine_slot){written, base + elf->high - written, true};
    c->slots[slot++] =
        (struct hl_machine_slot){ARENA, ARENA_SIZE + PAGE + STACK_SIZE, true};
    c->slots[slot++] = (struct hl_machine_slot){KERNEL, kernel, true};
    c->slot_count = slot;
    c->guest.heap = (struct hl_span){ARENA, ARENA_SIZE};
    c->guest.stack = (struct hl_span){stack, STACK_SIZE};
    c->guest.kernel = (struct hl_span){KERNEL, kernel};
}

/* NULL: there is no such program here. */
static struct hl_sandbox *load(const char *name, const char *texts,
                               size_t size, size_t arguments)
{
    size_t file_size;
    char *file = read_program(name, &file_size);
    struct hl_elf elf;
    struct hl_choice choice;
    struct hl_sandbox *sandbox;

    if (file == NULL)
        return NULL;
    CHECK(hl_elf_read_program(file, file_size, &elf, reason) == 0);
    uint64_t base = elf.pie ? PIE_BASE : 0;
    struct hl_sandbox_config c = {
        .driver = ops,
        .abi = "linux",
        .adaptive = true,
        .guest.image = {file, file_size, &elf, base},
        .guest.start = {texts, size, arguments, 1},
    };
    lay_out(&c, &elf, base);
    int err = hl_sandbox_new(&c, &sandbox, &choice, reason);
    if (err < 0)
        fprintf(stderr, "%s: %s\n", name, reason);
    CHECK(err == 0);
    free(file);
    return sandbox;
}

static enum hl_left run_program(struct hl_sandbox *s, const char *input)
{
    struct hl_linux *l = hl_linux_of(hl_sandbox_abi(s));
    struct hl_exit how;
    enum hl_left left;

    l->input = input;
    l->input_size = strlen(input);
    hl_linux_drop_output(l);
    CHECK(hl_sandbox_enter(s, HL_CALL, true) == 0);
    CHECK(hl_sandbox_begin(s) == 0);
    do
        CHECK(hl_sandbox_run(s, &how, &left) == 0);
    while (left == HL_LEFT_KICKED);
    if (left != HL_LEFT_EXITED)
        describe(how);
    hl_sandbox_leave(s);
    return left;
}

static void ended(struct hl_sandbox *s, enum hl_linux_end end, int number)
{
    const struct hl_linux *l = hl_linux_of(hl_sandbox_abi(s));

    if (l->end != end || l->number != number)
        fprintf(stderr, "ended %d by %d, said %.*s\n", (int)l->end, l->number,
                (int)l->output[1].size, l->output[1].bytes);
    CHECK(l->end == end && l->number == number);
}

static bool said(struct hl_sandbox *s, int which, const char *text)
{
    const struct hl_linux_output *o =
        &hl_linux_of(hl_sandbox_abi(s))->output[which];

    if (o->size == strlen(text) &&
        (o->size == 0 || memcmp(o->bytes, text, o->size) == 0))
        return true;
    fprintf(stderr, "said %.*s\n", (int)o->size, o->bytes ? o->bytes : "");
    return false;
}

static const char hello_texts[] = "hello\0one\0two\0HOME=/";

static void drop(struct hl_sandbox *s)
{
    CHECK(hl_sandbox_enter(s, HL_WORK, true) == 0);
    hl_sandbox_close(s);
    hl_sandbox_unref(s);
}

/* Each time from the same state, whatever it did: all memory is as it was. */
static void runs_again_and_again(const char *program, int number,
                                 const char *output, const char *error)
{
    struct hl_sandbox *s = load(program, hello_texts, sizeof hello_texts, 3);
    struct hl_snapshot *base;
    struct hl_applied done;

    if (s == NULL) {
        printf("skipped %s: it could not be linked here\n", program);
        return;
    }
    size_t pages = hl_manager_page_count(hl_sandbox_manager(s));
    uint64_t *bits = calloc(pages / 64 + 1, 8);
    void *state = malloc(hl_sandbox_state_size(s));
    CHECK(hl_sandbox_enter(s, HL_WORK, true) == 0);
    CHECK(hl_sandbox_take(s, &base, state) == 0);
    hl_sandbox_leave(s);
    for (int i = 0; i < 20; i++) {
        CHECK(run_program(s, "") == HL_LEFT_EXITED);
        ended(s, HL_LINUX_EXITED, number);
        CHECK(said(s, 0, output));
        CHECK(said(s, 1, error));
        CHECK(hl_sandbox_is_poisoned(s));
        CHECK(hl_sandbox_enter(s, HL_WORK, true) == 0);
        CHECK(hl_sandbox_restore(s, base, state, &done) == 0);
        CHECK(hl_manager_differing(hl_sandbox_manager(s), base, bits) == 0);
        hl_sandbox_leave(s);
        for (size_t w = 0; w <= pages / 64; w++)
            CHECK(bits[w] == 0);
    }
    hl_snapshot_unref(base);
    drop(s);
    free(state);
    free(bits);
}

static void says_hello(const char *program)
{
    runs_again_and_again(program, 13,
                         "hello has 3 arguments, HOME=/ one two 3\n",
                         "to the other\n");
}

static void hello_runs_again_and_again(void) { says_hello("hello"); }
static void hello_as_pie_runs(void) { says_hello("hello-pie"); }

static void what_waits_runs_again_and_again(void)
{
    runs_again_and_again("waits", 3, "over here, two, 4\n", "");
}

static const char echo_texts[] = "echo\0A=b";

static void input_signals_and_ends(void)
{
    static const struct {
        const char *input, *output;
        enum hl_linux_end end;
        int number;
    } cases[] = {
        {"", "0 5 0.50 1\n", HL_LINUX_EXITED, 0},
        {"ab\nc", "AB\nC24 5 1.00 1\n", HL_LINUX_EXITED, 0},
        {"abort\n", "", HL_LINUX_SIGNALLED, 6},
        {"fault\n", "", HL_LINUX_SIGNALLED, 11},
    };

    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++) {
        struct hl_sandbox *s = load("echo", echo_texts, sizeof echo_texts, 1);
        if (s == NULL)
            return;
        CHECK(run_program(s, cases[i].input) == HL_LEFT_EXITED);
        ended(s, cases[i].end, cases[i].number);
        CHECK(said(s, 0, cases[i].output));
        drop(s);
    }
}

/* What libraries want that cannot be linked into a native guest. */
static void libraries_run_in_programs(void)
{
    static const char texts[] = "x\0HOME=/home";
    static const struct {
        const char *program, *output;
    } cases[] = {
        {"sqlite", "sum(x) 42.0\ny B\n"},
        {"lua", "0.909297 3\nline\t/home\tnumber\n"
                "nil\t/none: No such file or directory\t2\n"
                "true\ttrue\n"},
    };

    for (size_t i = 0; i < 2 * HL_ARRAY_SIZE(cases); i++) {
        char name[16];
        snprintf(name, sizeof name, "%s%s", cases[i / 2].program,
                 i % 2 ? "-pie" : "");
        struct hl_sandbox *s = load(name, texts, sizeof texts, 1);
        if (s == NULL) {
            printf("skipped %s: it could not be linked here\n", name);
            continue;
        }
        CHECK(run_program(s, "line\n") == HL_LEFT_EXITED);
        ended(s, HL_LINUX_EXITED, 0);
        CHECK(said(s, 0, cases[i / 2].output));
        drop(s);
    }
}

static void tests_of_driver(void)
{
    if (!ops->system_calls) {
        printf("%s: system calls do not leave\n", ops->name);
        return;
    }
    RUN(hello_runs_again_and_again);
    RUN(hello_as_pie_runs);
    RUN(input_signals_and_ends);
    RUN(libraries_run_in_programs);
    RUN(what_waits_runs_again_and_again);
    (void)hl_machine_drop_blanks();
}

int main(void)
{
    hl_mshv_use_calls(&fake_mshv_calls);
    return on_every_driver(tests_of_driver);
}
