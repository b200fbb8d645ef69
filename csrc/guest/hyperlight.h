/* The API for guests: exported functions, calls to the host, logging and
 * errors.
 *
 *     #include <hyperlight.h>
 *
 *     HL_EXPORT(greet, "Greet(str, int32) -> str")
 *     {
 *         struct hl_view name = hl_arg_str(0);
 *         hl_return_format("Hello %.*s, %d times", (int)name.size, name.data,
 *                          hl_arg_i32(1));
 *     }
 *
 * Build it with `hyperlight guest build`.  string.h, stdlib.h, stdio.h,
 * ctype.h, assert.h, errno.h and setjmp.h are the SDK's own and have what
 * portable code without files needs.
 *
 * A guest has one thread.  Static variables, the heap and the processor's
 * floating-point state stay as a call left them, until the host restores a
 * snapshot. */
#ifndef HL_GUEST_HYPERLIGHT_H
#define HL_GUEST_HYPERLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

#define HL_PRINTF(text, args)                                                 \
    __attribute__((__format__(__printf__, text, args)))

/* ---- Values ---- */

/* Bytes that belong to somebody else; not terminated. */
struct hl_view {
    const char *data;
    size_t size;
};

/* One value of any type; `type` says which member holds it. */
struct hl_any {
    enum hl_type type;
    union {
        int32_t i32;
        int64_t i64;
        uint32_t u32;
        uint64_t u64;
        float f32;
        double f64;
        bool boolean;
        struct hl_view view; /* HL_STR, HL_BYTES */
    };
};

static inline struct hl_view hl_view(const void *data, size_t size)
{
    return (struct hl_view){.data = (const char *)data, .size = size};
}

/* A view of a C string, without its terminator. */
static inline struct hl_view hl_cstr(const char *text)
{
    return hl_view(text, __builtin_strlen(text));
}

#define HL_TYPE_(name, member, c_type, tag)                                   \
    static inline struct hl_any hl_##name(c_type value)                       \
    {                                                                         \
        return (struct hl_any){.type = tag, .member = value};                 \
    }                                                                         \
    static inline c_type hl_arg_##name(unsigned index)                        \
    {                                                                         \
        return hl_arg(index, tag).member;                                     \
    }                                                                         \
    static inline void hl_return_##name(c_type value)                         \
    {                                                                         \
        hl_return(hl_##name(value));                                          \
    }

/* ---- Exported functions ----
 *
 * HL_EXPORT(function, "name(type, ...) -> type") { body } is called by the
 * host as `name`; types are int32 int64 uint32 uint64 float double bool str
 * bytes, and behind the arrow also none.  The arguments were checked against
 * the signature before the body runs.  A signature that cannot be read aborts
 * the guest as it starts. */
#define HL_MAX_ARGS 13

struct hl_export {
    const char *signature;
    void (*function)(void);
    uint8_t name_size, result, count, args[HL_MAX_ARGS];
};

/* The linker puts the records of all files side by side: no padding. */
_Static_assert(sizeof(struct hl_export) == 32, "an array across files");

#define HL_EXPORT(name, text)                                                 \
    static void name(void);                                                   \
    static struct hl_export name##_export                                     \
        __attribute__((used, aligned(32), section("hl_exports"))) = {         \
            .signature = text, .function = name};                             \
    static void name(void)

/* Optional: defined by a guest, it runs once, after constructors and before
 * the first call.  What it sets up is part of the sandbox's first snapshot.
 * It may log, but not call the host. */
void hl_init(void);

/* Argument `index` of the running call, which must have that type in the
 * signature (else the call fails).  Prefer hl_arg_i32 and its like.  A str or
 * bytes is a view into the input buffer, readable until the call ends. */
struct hl_any hl_arg(unsigned index, enum hl_type type);

/* Set the running call's result, which must have the signature's type (else
 * the call fails); the function goes on.  The last one counts.  The bytes of a
 * str or bytes are copied here and now into the output buffer, so that a local
 * array or memory about to be freed may be given; HL_ERROR_TOO_LARGE ends the
 * call where they do not fit.
 * Once a str or bytes is set the host cannot be called any more. */
void hl_return(struct hl_any value);

/* Build the result, a str or bytes, in place: returns its `size` bytes, not
 * cleared, aligned to 8.  Reserving all that fits costs no more than reserving
 * the exact size; hl_return_shrink then sets the size.  Fails as hl_return
 * does. */
void *hl_return_buffer(size_t size);
void hl_return_shrink(size_t size);

/* The largest result that fits. */
size_t hl_return_room(void);

/* A result of type str, as printf would print it. */
HL_PRINTF(1, 2) void hl_return_format(const char *format, ...);

/* For each type: hl_NAME(x) makes a struct hl_any, hl_arg_NAME(i) reads an
 * argument, hl_return_NAME(x) sets the result. */
HL_TYPE_(i32, i32, int32_t, HL_I32)
HL_TYPE_(i64, i64, int64_t, HL_I64)
HL_TYPE_(u32, u32, uint32_t, HL_U32)
HL_TYPE_(u64, u64, uint64_t, HL_U64)
HL_TYPE_(f32, f32, float, HL_F32)
HL_TYPE_(f64, f64, double, HL_F64)
HL_TYPE_(bool, boolean, bool, HL_BOOL)
HL_TYPE_(str, view, struct hl_view, HL_STR)
HL_TYPE_(bytes, view, struct hl_view, HL_BYTES)

/* ---- Errors ---- */

/* End the running call with an error; the guest goes on with the next call.
 * A guest's own codes begin at HL_ERROR_USER.  What the function had
 * allocated stays allocated.  In hl_init: hl_abort. */
HL_PRINTF(2, 3)
__attribute__((noreturn)) void hl_fail(int32_t code, const char *format, ...);

/* End the guest: nothing can be called until the host restores a snapshot. */
HL_PRINTF(1, 2)
__attribute__((noreturn)) void hl_abort(const char *format, ...);

/* ---- The host ---- */

/* Call a function of the host:
 *
 *     int32_t sum = hl_host_call(HL_I32, "Add", hl_i32(1), hl_i32(2)).i32;
 *
 * What the host's function raises ends the running call too, with its code
 * and text.  A str or bytes that comes back is a view into the input buffer,
 * readable until the next call to the host. */
#define hl_host_call(result, name, ...)                                       \
    hl_host_call_array(result, name, HL_ANYS_(__VA_ARGS__))

/* The same, for a guest that handles errors itself: returns 0 with the answer
 * in *value, or the error's code; hl_host_error() has its text. */
#define hl_try_host_call(value, result, name, ...)                            \
    hl_try_host_call_array(value, result, name, HL_ANYS_(__VA_ARGS__))

/* What is said about the last error; readable until the next host call. */
struct hl_view hl_host_error(void);

struct hl_any hl_host_call_array(enum hl_type result, const char *name,
                                 const struct hl_any *args, size_t count);
int32_t hl_try_host_call_array(struct hl_any *value, enum hl_type result,
                               const char *name, const struct hl_any *args,
                               size_t count);

/* An array needs an element: one in front, which is not sent. */
#define HL_ANYS_(...)                                                         \
    (const struct hl_any[]){{.type = HL_NONE}, ##__VA_ARGS__} + 1,            \
        sizeof((const struct hl_any[]){{.type = HL_NONE}, ##__VA_ARGS__}) /   \
                sizeof(struct hl_any) -                                       \
            1

/* Levels, as Python's logging has them. */
enum {
    HL_LOG_DEBUG = 10,
    HL_LOG_INFO = 20,
    HL_LOG_WARNING = 30,
    HL_LOG_ERROR = 40,
    HL_LOG_CRITICAL = 50,
};

/* Send a line to the host, at most HL_TEXT_SIZE bytes of it.  printf and its
 * like gather a line and log it as HL_LOG_INFO, on stderr HL_LOG_WARNING. */
#define HL_TEXT_SIZE 1024
HL_PRINTF(2, 3) void hl_log(int32_t level, const char *format, ...);

/* Where things are: the heap, the stack, the call buffers. */
const struct hl_guest_info *hl_guest_info(void);

#endif
