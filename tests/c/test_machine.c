/* Machines that are used again, and the promises of machine.h, on every driver
 * and with each of its trackers. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inject.h"
#include "machine_bed.h"
#include "track/linux/scan.h"

#define MANY_PAGES ((size_t)600)

/* Leaves something of its own wherever it can. */
GUEST(leaves, "mov $0x600000, %ebx\n"
              "mov $-1, %rax\n"
              "mov %rax, (%rbx)\n"
              "mov %rax, 0x5008(%rbx)\n"
              "push %rax\n"
              "movq %rax, %xmm7\n"
              "std\n"
              "fld1\n"
              "mov %rax, %r15\n"
              "out %al, $0x48\n"
              "jmp leaves");
/* Looks for it in what it has no memory of: nothing is there if it is 0. */
GUEST(looks, "pushf\n"
             "pop %rdx\n"
             "and $0x400, %edx\n" /* DF */
             "fnstsw %ax\n"
             "and $0x3800, %eax\n" /* the x87's top of stack */
             "or %rax, %rdx\n"
             "movq %xmm7, %rax\n"
             "or %rdx, %rax\n"
             "or %r15, %rax\n"
             "out %al, $0x48");

static bool is_zero(const struct hl_machine *m)
{
    const char *memory = m->map.addr;

    for (size_t i = 0; i < m->map.size; i++)
        if (memory[i] != 0)
            return false;
    return true;
}

static void nothing_of_a_guest_is_left(void) /* B1 */
{
    struct plan plan = usual();
    struct hl_machine m = made(leaves, leaves_end);
    void *memory = m.map.addr;

    counted.regs(m.vm)->gpr[HL_RSP] = STACK + PAGE;
    CHECK(call_of(&m) == UINT64_MAX);
    memset(slot(&m, INPUT_SLOT), 1, PAGE);
    end_kept(&m);
    CHECK(hl_machine_blanks() == 1 && destroyed == 0);

    m = mapped(&plan);
    CHECK(m.map.addr == memory && hl_machine_blanks() == 0);
    CHECK(is_zero(&m));
    fill(&m, looks, looks_end);
    start(&m);
    CHECK(created == 1 && destroyed == 0 && renewed == 1);
    counted.regs(m.vm)->gpr[HL_RSP] = STACK + PAGE;
    CHECK(call_of(&m) == 0);
    hl_machine_end(&m, false);
    nothing_is_left();
}

/* The guest's first write since a take is found, and nothing else is. */
static void its_write_is_found(struct hl_machine *m)
{
    struct hl_manager *manager = managed(m);
    struct hl_snapshot *snapshot;
    uint64_t dirty = 0;

    CHECK(hl_manager_take(manager, &snapshot) == 0);
    CHECK(hl_manager_dirty(manager, &dirty) == 0 && dirty == 0);
    CHECK(call_of(m) == 1);
    CHECK(hl_manager_dirty(manager, &dirty) == 0 && dirty == 1);
    hl_snapshot_unref(snapshot);
    end_of(m, manager);
}

static void its_tracker_is_as_good_as_new(void) /* B1 */
{
    struct hl_machine m;

    if (own == NULL)
        return;
    m = made(leaves, leaves_end);
    counted.regs(m.vm)->gpr[HL_RSP] = STACK + PAGE;
    CHECK(call_of(&m) == UINT64_MAX); /* before anybody tracks it */
    end_kept(&m);
    for (int i = 0; i < 3; i++) {
        m = made(count, count_end);
        CHECK(created == 1 && renewed == i + 1);
        its_write_is_found(&m);
    }
    nothing_is_left();
}

static void only_those_at_rest_are_kept(void) /* B2 */
{
    struct plan plan = usual();
    struct hl_machine m = made(count, count_end);

    hl_machine_end(&m, false);
    CHECK(hl_machine_blanks() == 0 && destroyed == 1);

    m = mapped(&plan); /* never made */
    hl_machine_end(&m, true);
    CHECK(hl_machine_blanks() == 0 && hl_map_count() == 0);

    m = made(count, count_end);
    finish_error = -EIO;
    end_kept(&m);
    CHECK(hl_machine_blanks() == 0 && destroyed == 2);
    reset();
    nothing_is_left();
}

static void none_is_kept_without_its_tracker(void)
{
    struct hl_machine m;
    struct hl_tracker *t;

    if (own == NULL)
        return;
    m = made(count, count_end);
    CHECK(hl_machine_track(&m, slot(&m, DATA_SLOT), TRACKED / PAGE, &t, why) ==
          0);
    t->ops->close(t, false);
    hl_machine_end(&m, true);
    CHECK(hl_machine_blanks() == 0 && destroyed == 1);

    m = made(count, count_end);
    struct hl_manager *manager = managed(&m);
    hl_inject_plan(HL_INJECT_COLLECT, 0, 1);
    end_of(&m, manager);
    hl_inject_plan(HL_INJECT_COLLECT, 0, 0);
    CHECK(hl_machine_blanks() == 0 && destroyed == 2);
    nothing_is_left();
}

static void the_oldest_go(void) /* B3 */
{
    enum { MORE = HL_BLANKS + 2 };
    struct plan plan = usual();
    struct hl_machine m[MORE];
    void *memory[MORE];

    for (int i = 0; i < MORE; i++) {
        m[i] = made(count, count_end);
        memory[i] = m[i].map.addr;
    }
    for (int i = 0; i < MORE; i++) {
        end_kept(&m[i]);
        size_t kept = i < HL_BLANKS ? (size_t)i + 1 : HL_BLANKS;
        CHECK(hl_machine_blanks() == kept);
    }
    CHECK(destroyed == MORE - HL_BLANKS && hl_map_count() == HL_BLANKS);
    m[0] = mapped(&plan);
    CHECK(m[0].map.addr == memory[MORE - 1]);
    CHECK(hl_machine_drop_blanks() == HL_BLANKS - 1);
    CHECK(hl_machine_drop_blanks() == 0);
    hl_machine_end(&m[0], false);
    nothing_is_left();
}

static void add(void *context, uintptr_t start, uintptr_t end)
{
    *(size_t *)context += (end - start) / PAGE;
}

static size_t touched(const struct hl_machine *m)
{
    uintptr_t start = (uintptr_t)m->map.addr;
    struct hl_scan scan;
    size_t pages = 0;

    CHECK(hl_scan_open(&scan) == 0);
    CHECK(hl_scan_walk(&scan, HL_SCAN_TOUCHED, start, start + m->map.size, add,
                       &pages) == 0);
    return pages;
}

static void none_is_kept_with_much_memory(void) /* B3 */
{
    struct plan plan = usual();

    plan.slots[DATA_SLOT].size = plan.regions[2].size = MANY_PAGES * PAGE;
    plan.slots[STACK_SLOT].addr = plan.regions[3].addr = DATA + (4 << 20);
    for (size_t more = 0; more < 2; more++) {
        struct hl_machine m = mapped(&plan);
        fill(&m, count, count_end);
        start(&m);
        if (own) {
            struct hl_tracker *t;
            CHECK(hl_machine_track(&m, slot(&m, DATA_SLOT), MANY_PAGES + 1, &t,
                                   why) == 0);
            m.tracker = t;
        }
        for (size_t i = 0; touched(&m) < HL_BLANK_PAGES + more; i++)
            slot(&m, DATA_SLOT)[i * PAGE] = 1;
        CHECK(touched(&m) == HL_BLANK_PAGES + more);
        hl_machine_end(&m, true);
        CHECK(hl_machine_blanks() == 1 - more);
        CHECK(hl_machine_drop_blanks() == 1 - more);
    }
    nothing_is_left();
}

static void no_child_has_any(void) /* B3 */
{
    struct hl_machine m = made(leaves, leaves_end);
    int status;

    end_kept(&m);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(hl_machine_blanks() == 0 && hl_map_count() == 0 &&
                      hl_machine_drop_blanks() == 0
                  ? 0
                  : 1);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(hl_machine_blanks() == 1);
    m = made(count, count_end); /* which the child did no harm */
    CHECK(created == 1 && renewed == 1);
    CHECK(call_of(&m) == 1 && call_of(&m) == 2);
    hl_machine_end(&m, false);
    nothing_is_left();
}

static void only_equal_memory_is_used_again(void)
{
    struct plan plans[] = {usual(), usual(), usual(), usual(), usual()};
    struct hl_driver_ops other = counted;
    struct hl_machine m = made(count, count_end);
    void *memory = m.map.addr;

    plans[0].slots[DATA_SLOT].size += PAGE;
    plans[1].slots[INPUT_SLOT].addr += PAGE;
    plans[2].regions[1].addr += PAGE;
    plans[3].regions[1].perms |= HL_PERM_WRITE;
    plans[4].regions[3].size += PAGE;
    end_kept(&m);
    for (size_t i = 0; i < HL_ARRAY_SIZE(plans); i++) {
        m = mapped(&plans[i]);
        CHECK(!m.blank && m.map.addr != memory && hl_machine_blanks() == 1);
        hl_machine_end(&m, true);
    }
    struct plan plan = usual();
    m = (struct hl_machine){.driver = &other};
    memcpy(m.config.regions, plan.regions, sizeof plan.regions);
    m.config.region_count = HL_ARRAY_SIZE(plan.regions);
    CHECK(hl_machine_map(&m, plan.slots, SLOTS, why) == 0);
    CHECK(!m.blank && hl_machine_blanks() == 1);
    hl_machine_end(&m, true);
    m = mapped(&plan);
    CHECK(m.blank && m.map.addr == memory && hl_machine_blanks() == 0);
    hl_machine_end(&m, true); /* not while it is blank only in name */
    nothing_is_left();
}

GUEST(thread_block, "mov %fs:0, %rax\nout %al, $0x48");

/* One of the driver's if there is one, or none. */
static const struct hl_vm_tracker *another_tracker(void)
{
    for (size_t i = 0; i < ops->tracker_count; i++)
        if (&ops->trackers[i] != own &&
            hl_driver_try(ops, &ops->trackers[i], why) == 0)
            return &ops->trackers[i];
    return NULL;
}

/* A SYSCALL leaves only those that were made for it, either way. */
static void system_calls_leave_their_own_machines(void)
{
    struct plan plan = usual();
    struct hl_machine m = made(count, count_end);

    for (int made_ = 2; ops->system_calls && made_ < 4; made_++) {
        end_kept(&m);
        m = mapped(&plan);
        CHECK(!m.config.system_calls);
        fill(&m, count, count_end);
        m.config.system_calls = made_ == 2;
        start(&m);
        CHECK(created == made_ && destroyed == made_ - 1);
        CHECK(call_of(&m) == 1);
    }
    hl_machine_end(&m, false);
    nothing_is_left();
}

/* What cannot be changed of a machine is what the new one asks for. */
static void another_kind_is_made_anew(void)
{
    const struct hl_vm_tracker *was = own;
    struct plan plan = usual();
    struct hl_machine m = made(count, count_end);

    end_kept(&m);
    m = mapped(&plan);
    fill(&m, thread_block, thread_block_end);
    m.config.fs_base = DATA + 8;
    *(uint64_t *)(slot(&m, DATA_SLOT) + 8) = 77;
    start(&m);
    CHECK(created == 2 && destroyed == 1 && call_of(&m) == 77);

    end_kept(&m);
    own = another_tracker();
    m = mapped(&plan);
    CHECK(m.blank);
    fill(&m, count, count_end);
    m.config.fs_base = m.fs_base;
    start(&m);
    CHECK(own == was || (created == 3 && destroyed == 2));
    CHECK(m.config.tracker == own && m.tracker == NULL);
    CHECK(m.config.slots[DATA_SLOT].logged == (own != NULL));
    if (own)
        its_write_is_found(&m);
    else
        CHECK(call_of(&m) == 1);
    hl_machine_end(&m, false);
    own = was;
    nothing_is_left();
}

static void one_that_cannot_be_renewed_is_made_anew(void)
{
    struct hl_machine m = made(leaves, leaves_end);

    end_kept(&m);
    renew_error = -EBADF;
    m = made(count, count_end);
    CHECK(renewed == 1 && created == 2 && destroyed == 1);
    CHECK(m.tracker == NULL && call_of(&m) == 1);
    hl_machine_end(&m, false);
    nothing_is_left();
}

static void errors_leave_nothing(void)
{
    struct plan huge = usual(), plan = usual();
    struct hl_machine m = {.driver = &counted};

    huge.slots[DATA_SLOT].size = (size_t)1 << 60;
    why[0] = '\0';
    CHECK(hl_machine_map(&m, huge.slots, SLOTS, why) < 0 && why[0] != '\0');
    CHECK(m.map.base == NULL && m.vm == NULL && hl_map_count() == 0);

    m = mapped(&plan);
    fill(&m, count, count_end);
    start(&m);
    start(&m); /* the earlier one is destroyed */
    CHECK(created == 2 && destroyed == 1 && call_of(&m) == 1);
    create_error = -EMFILE;
    CHECK(try_to_make(&m) == -EMFILE && m.vm == NULL && destroyed == 2);
    hl_machine_end(&m, true);
    CHECK(hl_machine_blanks() == 0);
    nothing_is_left();
}

static void *uses_many(void *failed)
{
    struct plan plan = usual();

    for (int i = 0; i < 40; i++) {
        struct hl_machine m = mapped(&plan);
        uint64_t *mine = (void *)slot(&m, DATA_SLOT);
        if (!is_zero(&m))
            *(int *)failed = 1;
        fill(&m, count, count_end);
        start(&m);
        *mine = 1000;
        if (call_of(&m) != 1001)
            *(int *)failed = 1;
        end_kept(&m);
    }
    return NULL;
}

static void no_machine_has_two_owners(void)
{
    pthread_t threads[3];
    int failed[3] = {0};

    for (size_t i = 0; i < HL_ARRAY_SIZE(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, uses_many, &failed[i]) == 0);
    for (size_t i = 0; i < HL_ARRAY_SIZE(threads); i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(failed[i] == 0);
    }
    nothing_is_left();
}

/* With drivers whose machines cannot be used again. */
static void none_is_kept(void)
{
    struct hl_machine m = made(count, count_end);

    CHECK(call_of(&m) == 1);
    end_kept(&m);
    CHECK(hl_machine_blanks() == 0 && destroyed == 1);
    nothing_is_left();
}

static void run_with_tracker(void)
{
    printf("tracker %s:\n", own ? own->ops->name : "none");
    RUN(errors_leave_nothing);
    if (counted.renew == NULL) {
        RUN(none_is_kept);
        return;
    }
    RUN(nothing_of_a_guest_is_left);
    RUN(its_tracker_is_as_good_as_new);
    RUN(only_those_at_rest_are_kept);
    RUN(none_is_kept_without_its_tracker);
    RUN(the_oldest_go);
    RUN(none_is_kept_with_much_memory);
    RUN(no_child_has_any);
    RUN(only_equal_memory_is_used_again);
    RUN(system_calls_leave_their_own_machines);
    RUN(another_kind_is_made_anew);
    RUN(one_that_cannot_be_renewed_is_made_anew);
    RUN(no_machine_has_two_owners);
}

static void run_all(void)
{
    count_what_is_made();
    run_with_tracker();
    for (size_t i = 0; i < ops->tracker_count; i++) {
        own = &ops->trackers[i];
        if (hl_driver_try(ops, own, why) < 0)
            printf("skipped %s: %s\n", own->ops->name, why);
        else
            run_with_tracker();
    }
    own = NULL;
}

int main(void) { return on_every_driver(run_all); }
