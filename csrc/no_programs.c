/* Where the ABI of programs is not compiled, nobody ever has one. */
#ifdef _WIN32
#include "abi/linux/linux.h"
#include "abi/linux/numbers.h"

const char *hl_linux_call_name(uint64_t number)
{
    (void)number;
    return NULL;
}

size_t hl_linux_kernel_size(size_t file_pages)
{
    return (file_pages + 1) * HL_LINUX_PAGE;
}

struct hl_linux *hl_linux_of(struct hl_abi *abi)
{
    (void)abi;
    return NULL;
}

void hl_linux_set(struct hl_linux *l, const struct hl_linux_settings *settings)
{
    (void)l, (void)settings;
}

int hl_linux_work_in(struct hl_linux *l, uint32_t node)
{
    (void)l, (void)node;
    return -EOPNOTSUPP;
}

void hl_linux_set_input(struct hl_linux *l, const void *bytes, size_t size)
{
    (void)l, (void)bytes, (void)size;
}

void hl_linux_freeze_time(struct hl_linux *l, uint64_t time)
{
    (void)l, (void)time;
}

void hl_linux_request(struct hl_linux *l, const void *request, size_t size)
{
    (void)l, (void)request, (void)size;
}

const char *hl_linux_said(const struct hl_linux *l, int which, size_t *size)
{
    (void)l, (void)which;
    *size = 0;
    return NULL;
}

void hl_linux_drop_output(struct hl_linux *l) { (void)l; }

enum hl_linux_end hl_linux_ended(const struct hl_linux *l, int *number)
{
    (void)l;
    *number = 0;
    return HL_LINUX_RUNS;
}

enum hl_linux_limit hl_linux_limit_of(const struct hl_linux *l)
{
    (void)l;
    return HL_LINUX_NO_LIMIT;
}

struct hl_linux_ask hl_linux_asked(const struct hl_linux *l)
{
    (void)l;
    return (struct hl_linux_ask){0};
}

uint32_t hl_linux_refused(const struct hl_linux *l, size_t number)
{
    (void)l, (void)number;
    return 0;
}

uint64_t hl_linux_calls_made(const struct hl_linux *l)
{
    (void)l;
    return 0;
}

int hl_linux_give(struct hl_linux *l, uint32_t folder,
                  const struct hl_linux_given *given, uint32_t *out)
{
    (void)l, (void)folder, (void)given, (void)out;
    return -EOPNOTSUPP;
}

int hl_linux_give_bytes(struct hl_linux *l, uint32_t node, const void *bytes,
                        size_t size)
{
    (void)l, (void)node, (void)bytes, (void)size;
    return -EOPNOTSUPP;
}

int hl_linux_give_copy(struct hl_linux *l, uint32_t node, const void *bytes,
                       size_t size)
{
    (void)l, (void)node, (void)bytes, (void)size;
    return -EOPNOTSUPP;
}

void hl_linux_answer(struct hl_linux *l, int err, bool again)
{
    (void)l, (void)err, (void)again;
}
#else
typedef int hl_no_linux_is_empty; /* ISO C wants something here */
#endif
