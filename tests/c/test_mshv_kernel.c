/* The mshv driver by its real open, ioctl and close (mshv_kernel.h). */
#include "check.h"

#if defined(__x86_64__) && defined(__linux__)
#include <dirent.h>
#include <inttypes.h>

#include "mem/pages.h"
#include "mshv_kernel.h"
#include "os/map.h"

#define TABLES ((uint64_t)0x10000)
#define CODE ((uint64_t)0x400000)
#define DATA ((uint64_t)0x600000)
#define MORE ((uint64_t)0x620000)
enum { DATA_PAGES = 13, MORE_PAGES = 3, PAGES = DATA_PAGES + MORE_PAGES };
#define ALL ((UINT64_C(1) << PAGES) - 1)

static const struct hl_driver_ops *const ops = &hl_driver_mshv;

struct bed {
    struct hl_map map;
    struct hl_vm *vm;
    char *data; /* the logged slots: no multiple of 8 pages, neither of them */
    size_t descriptors;
};

static size_t count_descriptors(void)
{
    size_t count = 0;
    DIR *all = opendir("/proc/self/fd");

    CHECK(all);
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}

/* Its code is a row of the instruction by which guests call. */
static struct bed boot(void)
{
    struct hl_vm_config config = {
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
                    {DATA, DATA_PAGES * PAGE, HL_PERM_READ | HL_PERM_WRITE},
                    {MORE, MORE_PAGES * PAGE, HL_PERM_READ | HL_PERM_WRITE}},
        .region_count = 3,
        .slot_count = 4,
        .tracker = &ops->trackers[0],
    };
    size_t tables = hl_x86_tables_size(TABLES, config.regions, 3);
    struct bed bed = {.descriptors = count_descriptors()};
    char why[HL_WHY_SIZE] = "";

    CHECK(hl_map_create(&bed.map, tables + (1 + PAGES) * PAGE,
                        HL_HUGE_NEVER) == 0);
    char *memory = bed.map.addr, *code = memory + tables;
    bed.data = code + PAGE;
    const struct hl_vm_slot slots[] = {
        {memory, TABLES, tables, false},
        {code, CODE, PAGE, false},
        {bed.data, DATA, DATA_PAGES * PAGE, true},
        {bed.data + DATA_PAGES * PAGE, MORE, MORE_PAGES * PAGE, true},
    };
    memcpy(config.slots, slots, sizeof slots);
    CHECK(hl_x86_build(memory, tables, TABLES, config.regions, 3,
                       &config.tables) == 0);
    for (size_t i = 0; i < PAGE; i += 2)
        memcpy(code + i, (unsigned char[]){0xe6, HL_PORT_GUEST}, 2);
    int err = ops->create(&config, &bed.vm, why);
    if (err < 0)
        fprintf(stderr, "%s\n", why);
    CHECK(err == 0);
    ops->regs(bed.vm)->rip = CODE;
    return bed;
}

static void end(struct bed *bed)
{
    ops->destroy(bed->vm);
    hl_map_destroy(&bed->map);
    CHECK(count_descriptors() == bed->descriptors);
    CHECK(hl_map_count() == 0);
}

/* It calls with the number that is put into its RAX. */
static void call(struct bed *bed, uint64_t number)
{
    const uint64_t at = ops->regs(bed->vm)->rip;
    struct hl_exit left;

    ops->regs(bed->vm)->gpr[HL_RAX] = number;
    CHECK(ops->run(bed->vm, &left) == 0);
    CHECK(left.reason == HL_EXIT_CALL && left.value == number);
    CHECK(ops->regs(bed->vm)->rip == at + 2);
    CHECK(value(HL_HV_RIP)->u64[0] == at); /* moved with the next run */
}

/* A signal came: nothing has moved. */
static void is_interrupted(struct bed *bed)
{
    const uint64_t at = ops->regs(bed->vm)->rip;
    struct hl_exit left;

    kernel->step = RUN_VP, kernel->times = 1, kernel->error = EINTR;
    CHECK(ops->run(bed->vm, &left) == 0 && left.reason == HL_EXIT_KICKED);
    CHECK(kernel->times == 0 && ops->regs(bed->vm)->rip == at);
}

static void the_driver_works(void)
{
    const size_t before = count_descriptors();
    char why[HL_WHY_SIZE] = "";

    for (size_t i = 0; i < 2; i++) {
        int err = hl_driver_try(ops, i ? &ops->trackers[0] : NULL, why);
        if (err < 0)
            fprintf(stderr, "%s\n", why);
        CHECK(err == 0 && kernel->tracks == (i == 1));
        CHECK(count_descriptors() == before);
    }
}

static void machines_run_and_load(void)
{
    struct bed bed = boot();
    void *state = malloc(ops->state_size);

    call(&bed, 0x123456789a);
    memset(kernel->xsave, 0x55, XSAVE);
    value(HL_HV_DR0)->u64[0] = 0x55;
    CHECK(ops->save(bed.vm, state) == 0);
    call(&bed, 2);
    is_interrupted(&bed);
    call(&bed, 3);
    memset(kernel->xsave, 0xaa, XSAVE);
    value(HL_HV_DR0)->u64[0] = 0xaa;
    CHECK(ops->load(bed.vm, state) == 0);
    CHECK(value(HL_HV_DR0)->u64[0] == 0x55);
    CHECK(kernel->xsave[0] == 0x55 && kernel->xsave[XSAVE - 1] == 0x55);
    CHECK(ops->regs(bed.vm)->gpr[HL_RAX] == 0x123456789a);
    kernel->next_rip = CODE + 2; /* as it was saved */
    call(&bed, 4);
    free(state);
    end(&bed);
}

/* Exactly these of the pages are reported, beside what is left unarmed. */
static void collects(struct hl_tracker *tracker, uint64_t expected)
{
    struct hl_pages dirty;

    CHECK(hl_pages_init(&dirty, PAGES) == 0);
    CHECK(tracker->ops->collect(tracker, &dirty) == 0);
    tracker->ops->arm(tracker, &dirty);
    if (expected == ALL)
        dirty.bits[0] &= ALL; /* all that are open are whole words */
    if (dirty.bits[0] != expected)
        fprintf(stderr, "%#" PRIx64 ", not %#" PRIx64 "\n", dirty.bits[0],
                expected);
    CHECK(dirty.bits[0] == expected);
    hl_pages_free(&dirty);
}

static void the_tracker_finds_what_was_written(void)
{
    struct bed bed = boot();
    struct hl_tracker *tracker;
    struct hl_pages dirty;
    char why[HL_WHY_SIZE];

    CHECK(ops->trackers[0].open(bed.vm, bed.data, PAGES, &tracker, why) == 0);
    collects(tracker, ALL); /* T1 */
    collects(tracker, 0);
    call(&bed, 1);
    kernel->written[DATA / PAGE] = kernel->written[DATA / PAGE + 12] = true;
    kernel->written[CODE / PAGE] = kernel->written[DATA / PAGE + 13] = true;
    collects(tracker, 1 | 1 << 12);
    call(&bed, 2);
    kernel->written[DATA / PAGE + 8] = kernel->written[MORE / PAGE + 2] = true;
    kernel->written[MORE / PAGE + 3] = true; /* behind the end */
    collects(tracker, 1 << 8 | 1 << 15);
    collects(tracker, 0);

    /* What a query cleared that failed is not lost. */
    kernel->written[DATA / PAGE + 3] = kernel->written[MORE / PAGE] = true;
    kernel->step = ASK, kernel->times = 1, kernel->error = EINVAL;
    CHECK(hl_pages_init(&dirty, PAGES) == 0);
    CHECK(tracker->ops->collect(tracker, &dirty) == -EINVAL);
    hl_pages_free(&dirty);
    collects(tracker, (1 << (DATA_PAGES + 1)) - 1);
    collects(tracker, 0);
    tracker->ops->close(tracker, false);
    end(&bed);
}

static const struct failure {
    enum step step;
    unsigned skip, times;
    const char *why;
} failures[] = {
    {CREATE, 0, 1, "/dev/mshv: MSHV_CREATE_PARTITION: "},
    {INITIALIZE, 0, 1, "/dev/mshv: MSHV_INITIALIZE_PARTITION: "},
    {CREATE_VP, 0, 1, "/dev/mshv: MSHV_CREATE_VP: "},
    {MAP, 0, 1, "/dev/mshv: mapping guest memory: "},
    {MAP, 1, 1, "/dev/mshv: mapping guest memory: "},
    {SET, 0, 3, "/dev/mshv: setting registers: "},
    {GET_STATE, 0, 1, "/dev/mshv: MSHV_GET_VP_STATE: "},
    {TRACK, 0, 1, "HvPartitionPropertyGpaPageAccessTracking: "},
    {ASK, 0, 1, "asking for dirty pages: "},
    {SET, 1, 1, "/dev/mshv: marking the vCPU: "},
    {SET, 2, 1, "an instruction did not run: "},
    {RUN_VP, 0, 1, "an instruction did not run: "},
    {GET, 0, 1, "an instruction did not run: "},
};

static void fails(const struct failure *f, int error)
{
    const size_t before = count_descriptors();
    char why[HL_WHY_SIZE] = "", expected[HL_WHY_SIZE];

    if (f->step == INITIALIZE && kernel->interface != CURRENT)
        return;
    kernel->step = f->step, kernel->error = error;
    /* What it refuses is tried with less vector state. */
    kernel->skip = f->skip, kernel->times = error == EINVAL ? f->times : 1;
    int err = hl_driver_try(ops, &ops->trackers[0], why);
    snprintf(expected, sizeof expected, "%s%s", f->why, strerror(error));
    const bool is_right =
        err == -error && strncmp(why, expected, strlen(expected)) == 0;
    if (!is_right)
        fprintf(stderr, "%d %s, not %d %s\n", err, why, -error, expected);
    CHECK(is_right); /* with ENOMEM, limits are named */
    CHECK(kernel->skip == 0 && kernel->times == 0);
    CHECK(count_descriptors() == before && hl_map_count() == 0);
}

static void failures_say_where_and_leave_nothing(void)
{
    static const int errors[] = {EINVAL, EPERM, ENOMEM};

    for (size_t i = 0; i < HL_ARRAY_SIZE(failures); i++)
        for (size_t e = 0; e < HL_ARRAY_SIZE(errors); e++)
            fails(&failures[i], errors[e]);
    the_driver_works();
}

static void a_failed_save_or_load_says_so(void)
{
    static const enum step load[] = {SET, SET_STATE},
                           save[] = {GET, GET_STATE};
    struct bed bed = boot();
    void *state = calloc(1, ops->state_size);

    kernel->error = ENOMEM;
    for (size_t i = 0; i < 2; i++) {
        kernel->step = save[i], kernel->times = 1;
        CHECK(ops->save(bed.vm, state) == -ENOMEM && kernel->times == 0);
    }
    CHECK(ops->save(bed.vm, state) == 0);
    for (size_t i = 0; i < 2; i++) {
        kernel->step = load[i], kernel->times = 1;
        CHECK(ops->load(bed.vm, state) == -ENOMEM && kernel->times == 0);
    }
    CHECK(ops->load(bed.vm, state) == 0);
    call(&bed, 1);
    free(state);
    end(&bed);
}

/* Of a device that is not there, not allowed, or another one. */
static void a_useless_device_is_explained(void)
{
    static const struct {
        int error;
        const char *why;
    } cases[] = {{ENOENT, "not the root partition"},
                 {EACCES, "no permission"},
                 {EPERM, "forbidden"},
                 {EMFILE, "/dev/mshv: "}};
    const size_t before = count_descriptors();
    char why[HL_WHY_SIZE] = "";

    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++) {
        kernel->step = OPEN, kernel->times = 1;
        kernel->error = cases[i].error;
        CHECK(hl_driver_try(ops, NULL, why) == -cases[i].error);
        CHECK(strstr(why, cases[i].why));
    }
    kernel->unknown = true;
    CHECK(hl_driver_try(ops, NULL, why) == -ENOTTY);
    CHECK(strstr(why, "neither interface that is known"));
    kernel->unknown = false;
    CHECK(count_descriptors() == before);
}

/* The kernel gave the hypervisor a page meanwhile, and asks for the same call
 * once more.  Of a hypercall it wrote down how far it had come. */
static void calls_are_made_again(void)
{
    kernel->twice = true;
    machines_run_and_load();
    the_tracker_finds_what_was_written();
    kernel->twice = false;
}

static void in_the_child(void)
{
    memset(kernel->xsave, 0, sizeof kernel->xsave);
    RUN(the_driver_works);
    RUN(machines_run_and_load);
    RUN(the_tracker_finds_what_was_written);
    RUN(failures_say_where_and_leave_nothing);
    RUN(a_failed_save_or_load_says_so);
    RUN(a_useless_device_is_explained);
    RUN(calls_are_made_again);
}

int main(void)
{
    static const char *const names[] = {"current", "older", "older, padded"};

    alarm((INTERFACES + 1) * NOTIFY_SECONDS);
    kernel = mmap(NULL, sizeof *kernel, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(kernel != MAP_FAILED);
    for (int i = 0; i < INTERFACES; i++) {
        kernel->interface = i;
        printf("kernel %s:\n", names[i]);
        int status = notify_run(0xb8, in_the_child, answer);
        if (status < 0) {
            printf("skipped: no seccomp user notification: %s\n",
                   strerror(-status));
            return 0;
        }
        if (kernel->wrong[0])
            fprintf(stderr, "mshv_kernel.h:%s\n", kernel->wrong);
        CHECK(kernel->wrong[0] == 0 && status == 0);
    }
    munmap(kernel, sizeof *kernel);
    return 0;
}

#else

int main(void)
{
    printf("skipped: the driver is for x86-64\n");
    return 0;
}

#endif
