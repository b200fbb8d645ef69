/* The emulator's kick, by which a watching thread ends a run.
 *
 * HYPERLIGHT_UNICORN: where the emulator's library is. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "os/map.h"
#include "vm/emulator/machine.h"

#define PAGE ((size_t)4096)
#define CODE ((uint64_t)0x400000)
#define TABLES ((uint64_t)0x10000)

static atomic_bool asked;

static void *kick_soon(void *argument)
{
    struct hl_vm *vm = argument;

    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_store(&asked, true);
    vm->ops->kick(vm);
    return NULL;
}

/* Until it leaves otherwise, or until somebody asked. */
static struct hl_exit run(struct hl_vm *vm)
{
    struct hl_exit left;

    do
        CHECK(hl_driver_emulator.run(vm, &left) == 0);
    while (left.reason == HL_EXIT_KICKED && !atomic_load(&asked));
    return left;
}

static void kicks_end_runs(void)
{
    struct hl_x86_region code = {CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE};
    size_t tables = hl_x86_tables_size(TABLES, &code, 1);
    char why[HL_WHY_SIZE] = "";
    struct hl_map map;
    struct hl_vm *vm;

    CHECK(hl_map_create(&map, PAGE + tables, HL_HUGE_NEVER) == 0);
    char *memory = map.addr;
    struct hl_vm_config config = {
        .slots = {{memory, CODE, PAGE, false},
                  {memory + PAGE, TABLES, tables, false}},
        .slot_count = 2,
        .regions = {code},
        .region_count = 1,
    };
    CHECK(hl_x86_build(memory + PAGE, tables, TABLES, &code, 1,
                       &config.tables) == 0);
    memcpy(memory, "\x48\xff\xc0\xeb\xfb", 5); /* inc %rax; jmp */
    if (hl_driver_emulator.create(&config, &vm, why) < 0) {
        CHECK(hl_page_size() == PAGE || strstr(why, "pages of 4 KiB"));
        printf("skipped: %s\n", why);
        hl_map_destroy(&map);
        return;
    }
    char *state = malloc(hl_driver_emulator.state_size);
    CHECK(state != NULL && hl_driver_emulator.save(vm, state) == 0);
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        CHECK(hl_driver_emulator.load(vm, state) == 0);
        hl_driver_emulator.regs(vm)->rip = CODE;
        atomic_store(&asked, false);
        CHECK(pthread_create(&thread, NULL, kick_soon, vm) == 0);
        CHECK(run(vm).reason == HL_EXIT_KICKED);
        CHECK(pthread_join(thread, NULL) == 0);
        atomic_store(&asked, false);
        /* And it is as good as new. */
        memcpy(memory, "\xe6\x48", 2); /* out */
        hl_driver_emulator.code_changed(vm);
        CHECK(hl_driver_emulator.load(vm, state) == 0);
        hl_driver_emulator.regs(vm)->rip = CODE;
        hl_driver_emulator.regs(vm)->gpr[HL_RAX] = 5;
        struct hl_exit left = run(vm);
        CHECK(left.reason == HL_EXIT_CALL && left.value == 5);
        memcpy(memory, "\x48\xff\xc0\xeb\xfb", 5);
        hl_driver_emulator.code_changed(vm);
    }
    free(state);
    hl_driver_emulator.destroy(vm);
    hl_map_destroy(&map);
}

int main(void)
{
    hl_emulator_set_library(getenv("HYPERLIGHT_UNICORN"));
    RUN(kicks_end_runs);
    return 0;
}
