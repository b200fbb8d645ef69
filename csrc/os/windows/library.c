#include "os/library.h"

#include <windows.h>

#include <string.h>

/* By its path alone, with its own folder for what it needs: a name is not
 * looked for in the current folder. */
void *hl_library_load(const char *path, char *why)
{
    wchar_t wide[4096];
    HMODULE library = NULL;

    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide,
                            HL_ARRAY_SIZE(wide)) > 0)
        library = LoadLibraryExW(wide, NULL,
                                 strpbrk(path, "/\\")
                                     ? LOAD_WITH_ALTERED_SEARCH_PATH
                                     : LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
    if (library == NULL)
        (void)hl_why(why, 0, "%s: error %lu", path,
                     (unsigned long)GetLastError());
    return library;
}

void *hl_library_find(void *library, const char *name)
{
    FARPROC function = GetProcAddress(library, name);
    void *found;

    memcpy(&found, &function, sizeof found);
    return found;
}
