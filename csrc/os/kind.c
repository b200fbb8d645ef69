#include "os/vma.h"

const char *hl_kind_name(unsigned kinds)
{
    static const struct {
        unsigned kind;
        const char *name;
    } names[] = {
        {HL_KIND_OWN_HEAP, "this process's own heap"},
        {HL_KIND_STACK, "a stack of this process"},
        {HL_KIND_LIBRARY, "data of this library"},
        {HL_KIND_DEVICE, "memory of a device"},
        {HL_KIND_HUGETLB, "hugetlbfs memory"},
        {HL_KIND_FILE_COPY, "a private mapping of a file"},
        {HL_KIND_FILE, "a shared mapping of a file"},
        {HL_KIND_SHARED, "shared memory"},
        {HL_KIND_PRIVATE, "private memory"},
    };

    for (size_t i = 0; i < HL_ARRAY_SIZE(names); i++)
        if (kinds & names[i].kind)
            return names[i].name;
    return "memory of an unknown kind (there is no /proc here)";
}
