#include "vm/emulator/unicorn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/library.h"
#include "os/lock.h"
#include "os/memory.h"
#include "track/track.h"
#include "vm/driver.h"

#ifdef _WIN32
#define LIBRARY "unicorn.dll"
#else
#define LIBRARY "libunicorn.so.2"
#endif

static struct hl_lock lock;
static char *path;
static struct hl_uc_library library;
static bool loaded;

void hl_emulator_set_library(const char *where)
{
    char *copy = where ? strdup(where) : NULL;

    hl_lock_acquire(&lock);
    free(path);
    path = copy;
    hl_lock_release(&lock);
}

static const struct {
    const char *name;
    size_t at;
} functions[] = {
    {"uc_version", offsetof(struct hl_uc_library, version)},
    {"uc_strerror", offsetof(struct hl_uc_library, strerror)},
    {"uc_open", offsetof(struct hl_uc_library, open)},
    {"uc_close", offsetof(struct hl_uc_library, close)},
    {"uc_ctl", offsetof(struct hl_uc_library, ctl)},
    {"uc_mem_map_ptr", offsetof(struct hl_uc_library, mem_map_ptr)},
    {"uc_reg_read", offsetof(struct hl_uc_library, reg_read)},
    {"uc_reg_write", offsetof(struct hl_uc_library, reg_write)},
    {"uc_hook_add", offsetof(struct hl_uc_library, hook_add)},
    {"uc_emu_start", offsetof(struct hl_uc_library, emu_start)},
    {"uc_emu_stop", offsetof(struct hl_uc_library, emu_stop)},
    {"uc_context_alloc", offsetof(struct hl_uc_library, context_alloc)},
    {"uc_context_save", offsetof(struct hl_uc_library, context_save)},
    {"uc_context_restore", offsetof(struct hl_uc_library, context_restore)},
    {"uc_context_free", offsetof(struct hl_uc_library, context_free)},
};

static bool find_functions(void *handle, char *why)
{
    for (size_t i = 0; i < HL_ARRAY_SIZE(functions); i++) {
        void *function = hl_library_find(handle, functions[i].name);
        if (function == NULL) {
            (void)hl_why(why, 0, "the Unicorn library has no %s",
                         functions[i].name);
            return false;
        }
        memcpy((char *)&library + functions[i].at, &function, sizeof function);
    }
    return true;
}

static bool load(char *why)
{
    unsigned (*version)(unsigned *, unsigned *);
    unsigned major = 0, minor = 0;
    char reason[HL_WHY_SIZE];
    void *handle = hl_library_load(path ? path : LIBRARY, reason);

    if (handle == NULL && path == NULL)
        (void)hl_why(why, 0,
                     "no Unicorn library: pip install "
                     "'pyhyperlight[emulator]'");
    else if (handle == NULL)
        (void)hl_why(why, 0, "the Unicorn library does not load: %s", reason);
    if (handle == NULL)
        return false;
    void *found = hl_library_find(handle, "uc_version");
    if (found == NULL) {
        (void)hl_why(why, 0, "%s is not the Unicorn library",
                     path ? path : LIBRARY);
        return false;
    }
    memcpy(&version, &found, sizeof version);
    (void)version(&major, &minor);
    if (major != 2 || minor < 1) {
        (void)hl_why(why, 0,
                     "Unicorn %u.%u is too old: 2.1 is needed: pip install "
                     "'pyhyperlight[emulator]'",
                     major, minor);
        return false;
    }
    if (hl_library_commits(handle) < 0) {
        (void)hl_why(why, 0, "out of memory");
        return false;
    }
    return find_functions(handle, why);
}

int hl_uc_has_room(size_t buffer, char *why)
{
    size_t size = buffer + HL_UC_ROOM;
    int err = hl_memory_try_executable(size);

    if (err == 0)
        return 0;
    if (err == -EACCES || err == -EPERM)
        return hl_why(why, -EPERM,
                      "this process may not make memory executable "
                      "(PR_SET_MDWE, as systemd's MemoryDenyWriteExecute, or "
                      "SELinux)");
    return hl_why(why, -ENOMEM, "no %zu MiB of memory for it: %s", size >> 20,
                  strerror(-err));
}

const struct hl_uc_library *hl_uc_load(char *why)
{
    hl_lock_acquire(&lock);
    if (!loaded)
        loaded = load(why);
    bool done = loaded;
    hl_lock_release(&lock);
    return done ? &library : NULL;
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&lock, HL_RANK_LIBRARY);
}
