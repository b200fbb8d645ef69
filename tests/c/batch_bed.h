/* A sandbox for the tests of batches, whose guest leaves what it is told to.
 */
#ifndef HL_TESTS_BATCH_BED_H
#define HL_TESTS_BATCH_BED_H

#include <elf.h>

#include "abi/native/call.h"
#include "batch.h"
#include "sandbox.h"
#include "vm_bed.h"

#define BUFFER (32 * PAGE)
#define OUTPUT UINT64_C(0x520000) /* behind the input */
#define THREAD (OUTPUT + BUFFER)
#define COUNTER (THREAD + PAGE)
#define RESULT_SIZE sizeof(struct hl_message) + sizeof(struct hl_value)

/* Raw(bytes).  The first 8 bytes are orders: a reason to leave in the lowest
 * byte, and what is done before.  The others go to the output buffer.  After
 * any other reason it says that it is ready. */
#define COUNT 0x100 /* the result's number: how many calls there were */
#define WORK 0x200  /* take some hundred microseconds */
#define SPIN 0x400  /* take for ever */

GUEST(parrot, "1: mov $1, %edx\n"
              "2: movzbl %dl, %eax\n"
              "out %al, $0x48\n"
              "cmp $1, %dl\n"
              "jne 1b\n"
              "mov 0x38(%rax), %rcx\n"
              "mov 0x40(%rax), %rdx\n"
              "lea 0x48(%rax), %rsi\n"
              "sub $8, %rcx\n"
              "mov $0x520000, %edi\n"
              "cld\n"
              "rep movsb\n"
              "mov $0x541000, %ebx\n"
              "incq (%rbx)\n"
              "test $1, %dh\n"
              "jz 3f\n"
              "mov (%rbx), %rax\n"
              "mov %rax, 0x520020\n"
              "3: test $2, %dh\n"
              "jz 5f\n"
              "mov $1000000, %ecx\n"
              "4: dec %ecx\n"
              "jnz 4b\n"
              "5: test $4, %dh\n"
              "jnz 5b\n"
              "jmp 2b");

static struct hl_sandbox *sandbox;
static struct hl_snapshot *snapshot;
static char *state;
static struct hl_batch batch;
static struct hl_exit stop;

/* A call's name, encoded. */
static char name[64];
static size_t name_size;

static struct {
    Elf64_Ehdr head;
    Elf64_Phdr code;
    char rest[PAGE - sizeof(Elf64_Ehdr) - sizeof(Elf64_Phdr)];
    char text[PAGE];
} file;

/* What all sandboxes need. */
static inline void prepare(void)
{
    struct hl_wire_writer w;

    hl_wire_begin(&w, name, sizeof name);
    memcpy(hl_wire_put_room(&w, HL_STR, 3), "Raw", 3);
    name_size = (size_t)(w.at - name) - sizeof(struct hl_message);
    memmove(name, name + sizeof(struct hl_message), name_size);
    file.head = (Elf64_Ehdr){
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = CODE,
        .e_phoff = sizeof file.head,
        .e_ehsize = sizeof file.head,
        .e_phentsize = sizeof file.code,
        .e_phnum = 1,
    };
    file.code = (Elf64_Phdr){
        .p_type = PT_LOAD,
        .p_flags = PF_R | PF_X,
        .p_offset = PAGE,
        .p_vaddr = CODE,
        .p_paddr = CODE,
        .p_filesz = PAGE,
        .p_memsz = PAGE,
        .p_align = PAGE,
    };
    memcpy(file.text, parrot, (size_t)(parrot_end - parrot));
}

static inline void run_until_ready(void)
{
    struct hl_exit left;
    enum hl_left why;

    do
        CHECK(hl_sandbox_run(sandbox, &left, &why) == 0);
    while (why == HL_LEFT_KICKED);
    CHECK(why == HL_LEFT_READY);
    hl_sandbox_end(sandbox);
}

static inline struct hl_call *messages(void)
{
    return hl_abi_native.messages(hl_sandbox_abi(sandbox));
}

/* A sandbox that is up, has a snapshot, and is in a call. */
static inline void come_up(void)
{
    struct hl_sandbox_config c = {
        .driver = ops,
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
                    {INPUT, BUFFER, HL_PERM_READ},
                    {OUTPUT, BUFFER + 3 * PAGE, HL_PERM_READ | HL_PERM_WRITE}},
        .region_count = 3,
        .guest = {.thread = {THREAD, PAGE},
                  .heap = {COUNTER, PAGE},
                  .stack = {COUNTER + PAGE, PAGE},
                  .input = {INPUT, BUFFER},
                  .output = {OUTPUT, BUFFER}},
    };
    char why[HL_WHY_SIZE] = "";
    struct hl_choice choice;
    struct hl_elf elf;

    c.tables.addr = TABLES;
    c.tables.size = hl_x86_tables_size(TABLES, c.regions, 3);
    const struct hl_machine_slot slots[] = {
        {TABLES, c.tables.size, false},
        {CODE, PAGE, false},
        {INPUT, BUFFER, false},
        {OUTPUT, BUFFER + 3 * PAGE, true},
    };
    memcpy(c.slots, slots, sizeof slots);
    c.slot_count = 4;
    CHECK(hl_elf_read(&file, sizeof file, &elf, why) == 0);
    c.guest.image = (struct hl_image){&file, sizeof file, &elf, 0};
    int err = hl_sandbox_new(&c, &sandbox, &choice, why);
    if (err < 0)
        fprintf(stderr, "%s\n", why);
    CHECK(err == 0);
    CHECK(hl_sandbox_enter(sandbox, HL_CALL, false) == 0);
    hl_sandbox_set_deadline(sandbox, 0);
    hl_call_nothing(messages());
    CHECK(hl_sandbox_begin(sandbox) == 0);
    run_until_ready();
    state = malloc(hl_sandbox_state_size(sandbox));
    CHECK(hl_sandbox_take(sandbox, &snapshot, state) == 0);
}

static inline void go_down(void)
{
    hl_batch_free(&batch);
    hl_snapshot_unref(snapshot);
    free(state);
    hl_sandbox_close(sandbox);
    hl_sandbox_unref(sandbox);
    hl_machine_drop_blanks();
}

static inline int begin_as(enum hl_type result, bool restores, bool goes_on,
                           uint64_t limit)
{
    const struct hl_batch_config c = {
        .name = name,
        .name_size = name_size,
        .result = result,
        .limit = limit,
        .goes_on = goes_on,
        .snapshot = restores ? snapshot : NULL,
        .state = state,
    };
    return hl_batch_begin(&batch, sandbox, &c);
}

static inline void begin(enum hl_type result, bool restores)
{
    CHECK(begin_as(result, restores, false, 0) == 0);
}

static inline uint64_t counter(void)
{
    uint64_t calls;

    CHECK(hl_sandbox_peek(sandbox, COUNTER, &calls, sizeof calls) == 8);
    return calls;
}

/* Add a call; true: it is full. */
static inline bool order(uint64_t orders, const void *left, size_t size)
{
    struct hl_wire_writer *w = hl_batch_write(&batch);
    char *to = hl_wire_put_room(w, HL_BYTES, 8 + size);

    CHECK(to != NULL);
    memcpy(to, &orders, 8);
    if (size > 0)
        memcpy(to + 8, left, size);
    return hl_batch_add(&batch);
}

/* Add a call that leaves one value, of which the payload may be more than is
 * given: the rest is zero. */
static inline bool order_value(uint64_t orders, enum hl_type type,
                               uint64_t bits, const char *text)
{
    bool has_payload = type == HL_STR || type == HL_BYTES;
    struct {
        struct hl_message head;
        struct hl_value value;
        char text[16];
    } m = {
        {HL_MESSAGE_MAGIC, HL_MESSAGE_RESULT,
         RESULT_SIZE + (has_payload ? hl_align_up(bits, 8) : 0), 1, 0},
        {type, 0, bits},
        "",
    };

    if (text != NULL)
        memcpy(m.text, text, strlen(text));
    orders |= orders & 0xff ? 0 : HL_LEAVE_READY;
    return order(orders, &m, sizeof m);
}

static inline bool order_count(void)
{
    return order_value(COUNT, HL_I64, 0, NULL);
}

/* As a caller does who sees to signals; *taken counts the results. */
static inline int run_batch(enum hl_left *left, size_t *taken)
{
    int rc;

    do {
        rc = hl_batch_run(&batch, &stop, left);
        while (hl_batch_take(&batch) != NULL)
            ++*taken;
    } while (rc == 0 && *left == HL_LEFT_KICKED);
    return rc;
}

/* All of it is plain results. */
static inline size_t run_all(void)
{
    enum hl_left left;
    size_t taken = 0;

    CHECK(run_batch(&left, &taken) == 0 && left == HL_LEFT_READY);
    return taken;
}

/* Run, and expect that a call is left in its middle. */
static inline void run_to(enum hl_left left)
{
    enum hl_left why;
    size_t ignored = 0;

    CHECK(run_batch(&why, &ignored) == 1);
    CHECK(why == left);
}

#endif
