/* Standard input, output and error: bytes of the host's, and for it. */
#include <stdlib.h>
#include <string.h>

#include "abi/linux/kinds.h"

#define FIFO UINT32_C(0010600)

/* The bytes of standard input are the caller's and stay as they are; how far
 * they were read is the program's state. */
static int64_t read_input(struct hl_linux *l, struct hl_linux_open *o,
                          uint64_t at, uint64_t addr, uint64_t size)
{
    uint64_t left = o->offset < l->input_size ? l->input_size - o->offset : 0;

    (void)at;
    if (size > left)
        size = left;
    if (size == 0)
        return 0;
    int err = hl_linux_put(l, addr, l->input + o->offset, size);
    if (err < 0)
        return err;
    o->offset += size;
    return (int64_t)size;
}

int hl_linux_append(struct hl_linux_output *out, const void *from, size_t size)
{
    size_t capacity = out->capacity ? out->capacity : 4096;

    while (capacity - out->size < size)
        capacity *= 2;
    if (capacity > out->capacity) {
        char *bytes = realloc(out->bytes, capacity);
        if (bytes == NULL)
            return -ENOMEM;
        out->bytes = bytes;
        out->capacity = capacity;
    }
    memcpy(out->bytes + out->size, from, size);
    out->size += size;
    return 0;
}

static int64_t write_output(struct hl_linux *l, struct hl_linux_output *out,
                            uint64_t addr, uint64_t size)
{
    const void *from = hl_window_read(&l->window, addr, size);

    if (from == NULL)
        return -EFAULT;
    if (size > l->output_limit - l->written) {
        l->limit = HL_LINUX_OUTPUT_LIMIT;
        return -EIO;
    }
    int err = hl_linux_append(out, from, size);
    if (err < 0)
        return err;
    l->written += size;
    l->has_output = true;
    return (int64_t)size;
}

static int64_t write_stdout(struct hl_linux *l, struct hl_linux_open *o,
                            uint64_t at, uint64_t addr, uint64_t size)
{
    (void)o, (void)at;
    return write_output(l, &l->output[0], addr, size);
}

static int64_t write_stderr(struct hl_linux *l, struct hl_linux_open *o,
                            uint64_t at, uint64_t addr, uint64_t size)
{
    (void)o, (void)at;
    return write_output(l, &l->output[1], addr, size);
}

const struct hl_linux_kind_ops hl_linux_stdin = {.read = read_input,
                                                 .mode = FIFO};
const struct hl_linux_kind_ops hl_linux_stdout = {.write = write_stdout,
                                                  .mode = FIFO};
const struct hl_linux_kind_ops hl_linux_stderr = {.write = write_stderr,
                                                  .mode = FIFO};
