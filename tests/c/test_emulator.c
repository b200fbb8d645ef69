/* The emulator's kick, by which a watching thread ends a run.
 *
 * HYPERLIGHT_UNICORN: where the emulator's library is. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "mem/map.h"
#include "vm/emulator.h"

#define PAGE ((size_t)4096)
#define CODE ((uint64_t)0x400000)
#define TABLES ((uint64_t)0x10000)

struct watch {
    struct hl_vm *vm;
    atomic_bool done;
};

/* As a watcher would: until it is heard. */
static void *kick(void *argument)
{
    struct watch *w = argument;

    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    w->vm->ops->interrupt(w->vm);
    while (!atomic_load(&w->done)) {
        hl_emulator_kick(w->vm);
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    return NULL;
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
        printf("skipped: %s\n", why);
        hl_map_destroy(&map);
        return;
    }
    char *state = malloc(hl_driver_emulator.state_size);
    CHECK(state != NULL && hl_driver_emulator.save(vm, state) == 0);
    for (int i = 0; i < 200; i++) {
        struct watch watch = {.vm = vm};
        struct hl_exit left;
        pthread_t thread;
        CHECK(hl_driver_emulator.load(vm, state) == 0);
        hl_driver_emulator.regs(vm)->rip = CODE;
        CHECK(pthread_create(&thread, NULL, kick, &watch) == 0);
        do
            CHECK(hl_driver_emulator.run(vm, 0, &left) == 0);
        while (left.reason == HL_EXIT_INTERRUPTED && left.value == 0);
        atomic_store(&watch.done, true);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(left.reason == HL_EXIT_INTERRUPTED && left.value == 1);
        /* And it is as good as new. */
        memcpy(memory, "\xe6\x48", 2); /* out */
        hl_driver_emulator.code_changed(vm);
        CHECK(hl_driver_emulator.load(vm, state) == 0);
        hl_driver_emulator.regs(vm)->rip = CODE;
        hl_driver_emulator.regs(vm)->gpr[HL_RAX] = 5;
        do
            CHECK(hl_driver_emulator.run(vm, 0, &left) == 0);
        while (left.reason == HL_EXIT_INTERRUPTED);
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
