/* What the owner of a program does with it. */
#include "abi/linux/linux.h"

void hl_linux_trust(struct hl_linux *l)
{
    l->trusted_patches = l->patch_count;
}

void hl_linux_set(struct hl_linux *l, const struct hl_linux_settings *settings)
{
    l->output_limit = settings->output;
    l->calls_limit = settings->calls;
    l->streams = settings->streams;
    hl_window_own(&l->window, l->process, HL_LINUX_PAGE);
    l->process->most_files =
        settings->files < HL_LINUX_FILES ? settings->files : HL_LINUX_FILES;
}

int hl_linux_work_in(struct hl_linux *l, uint32_t node)
{
    struct hl_linux_process *p = l->process;

    if (l->files.tree->nodes[node].kind != HL_TREE_FOLDER)
        return -ENOTDIR;
    hl_window_own(&l->window, p, HL_LINUX_PAGE);
    hl_tree_open(&l->files, node);
    hl_tree_close(&l->files, p->folder);
    p->folder = node;
    return 0;
}

void hl_linux_set_input(struct hl_linux *l, const void *bytes, size_t size)
{
    l->input = bytes;
    l->input_size = size;
}

void hl_linux_request(struct hl_linux *l, const void *request, size_t size)
{
    l->request = request;
    l->request_size = size;
    l->is_asked = true;
}

const char *hl_linux_said(const struct hl_linux *l, int which, size_t *size)
{
    const struct hl_linux_output *out =
        which == 2 ? &l->answer : &l->output[which];

    *size = out->size;
    return out->bytes;
}

void hl_linux_drop_output(struct hl_linux *l)
{
    l->output[0].size = l->output[1].size = 0;
}

enum hl_linux_end hl_linux_ended(const struct hl_linux *l, int *number)
{
    *number = l->number;
    return l->end;
}

enum hl_linux_limit hl_linux_limit_of(const struct hl_linux *l)
{
    return l->limit;
}

struct hl_linux_ask hl_linux_asked(const struct hl_linux *l) { return l->ask; }

uint32_t hl_linux_refused(const struct hl_linux *l, size_t number)
{
    return number < HL_LINUX_CALLS ? l->refused[number] : 0;
}

uint64_t hl_linux_calls_made(const struct hl_linux *l) { return l->calls; }
