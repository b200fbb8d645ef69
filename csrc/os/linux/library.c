#include "os/library.h"

#include <dlfcn.h>

void *hl_library_load(const char *path, char *why)
{
    void *library = dlopen(path, RTLD_NOW);

    if (library == NULL)
        (void)hl_why(why, 0, "%s", dlerror());
    return library;
}

void *hl_library_find(void *library, const char *name)
{
    return dlsym(library, name);
}

int hl_library_commits(void *library)
{
    (void)library;
    return 0;
}
