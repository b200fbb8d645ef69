/* The guest that ships: one function for each thing that a sandbox must do or
 * survive.  The library's tests and tutorials call it. */
#include <hyperlight.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *pointer(uint64_t address) { return (void *)(uintptr_t)address; }

/* ---- Values in and out ---- */

HL_EXPORT(echo, "Echo(str) -> str") { hl_return_str(hl_arg_str(0)); }

HL_EXPORT(echo_bytes, "EchoBytes(bytes) -> bytes")
{
    hl_return_bytes(hl_arg_bytes(0));
}

HL_EXPORT(echo_i32, "EchoInt32(int32) -> int32")
{
    hl_return_i32(hl_arg_i32(0));
}

HL_EXPORT(echo_i64, "EchoInt64(int64) -> int64")
{
    hl_return_i64(hl_arg_i64(0));
}

HL_EXPORT(echo_u32, "EchoUInt32(uint32) -> uint32")
{
    hl_return_u32(hl_arg_u32(0));
}

HL_EXPORT(echo_u64, "EchoUInt64(uint64) -> uint64")
{
    hl_return_u64(hl_arg_u64(0));
}

HL_EXPORT(echo_f32, "EchoFloat(float) -> float")
{
    hl_return_f32(hl_arg_f32(0));
}

HL_EXPORT(echo_f64, "EchoDouble(double) -> double")
{
    hl_return_f64(hl_arg_f64(0));
}

HL_EXPORT(echo_bool, "EchoBool(bool) -> bool")
{
    hl_return_bool(hl_arg_bool(0));
}

HL_EXPORT(nothing, "Nothing() -> none") {}

HL_EXPORT(types, "Types(int32, int64, uint32, uint64, float, double, bool, "
                 "str, bytes) -> str")
{
    struct hl_view text = hl_arg_str(7), bytes = hl_arg_bytes(8);

    hl_return_format("%d %ld %u %lu %g %g %s %.*s %zu", hl_arg_i32(0),
                     (long)hl_arg_i64(1), hl_arg_u32(2),
                     (unsigned long)hl_arg_u64(3), (double)hl_arg_f32(4),
                     hl_arg_f64(5), hl_arg_bool(6) ? "true" : "false",
                     (int)text.size, text.data, bytes.size);
}

HL_EXPORT(add_local, "AddLocal(int32, int32) -> int32")
{
    /* Unsigned, which wraps. */
    hl_return_i32(
        (int32_t)((uint32_t)hl_arg_i32(0) + (uint32_t)hl_arg_i32(1)));
}

/* Reads the lengths alone, so that what a large argument costs is the host's
 * copy of it. */
HL_EXPORT(large_parameters, "LargeParameters(bytes, str) -> uint64")
{
    hl_return_u64(hl_arg_bytes(0).size + hl_arg_str(1).size);
}

HL_EXPORT(large, "Large(uint64) -> bytes")
{
    size_t size = hl_arg_u64(0);
    unsigned char *data = hl_return_buffer(size);

    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(i * 7);
}

/* ---- The host ---- */

HL_EXPORT(add, "Add(int32, int32) -> int32")
{
    hl_return(hl_host_call(HL_I32, "HostAdd", hl_i32(hl_arg_i32(0)),
                           hl_i32(hl_arg_i32(1))));
}

HL_EXPORT(host_echo, "HostEcho(bytes) -> bytes")
{
    hl_return(hl_host_call(HL_BYTES, "HostEcho", hl_bytes(hl_arg_bytes(0))));
}

HL_EXPORT(call_host, "CallHost(str) -> none")
{
    struct hl_view view = hl_arg_str(0);
    char *name = strndup(view.data, view.size);

    if (!name)
        hl_fail(HL_ERROR_MEMORY, "no memory for a name");
    struct hl_any value;
    int32_t code = hl_try_host_call(&value, HL_NONE, name);
    free(name);
    if (code != 0) {
        struct hl_view words = hl_host_error();
        hl_fail(code, "%.*s", (int)words.size, words.data);
    }
}

HL_EXPORT(host_loop, "HostLoop() -> none")
{
    for (;;)
        hl_host_call(HL_NONE, "HostTick");
}

HL_EXPORT(print, "Print(str) -> int32")
{
    struct hl_view text = hl_arg_str(0);
    hl_return_i32(printf("%.*s", (int)text.size, text.data));
}

HL_EXPORT(log_line, "Log(int32, str) -> none")
{
    struct hl_view text = hl_arg_str(1);
    hl_log(hl_arg_i32(0), "%.*s", (int)text.size, text.data);
}

HL_EXPORT(log_loop, "LogLoop() -> none")
{
    for (;;)
        hl_log(HL_LOG_INFO, "again");
}

HL_EXPORT(fail, "Fail(int32, str) -> none")
{
    struct hl_view text = hl_arg_str(1);
    hl_fail(hl_arg_i32(0), "%.*s", (int)text.size, text.data);
}

/* ---- State ---- */

static int64_t counter;

HL_EXPORT(count, "Counter() -> int64") { hl_return_i64(++counter); }
HL_EXPORT(get_counter, "GetCounter() -> int64") { hl_return_i64(counter); }

/* Leave XMM15, MXCSR (toward zero) and the x87 control word (24 bits) other
 * than they were.  Nothing in the runtime puts them back. */
HL_EXPORT(set_float, "SetFloat(double) -> none")
{
    double value = hl_arg_f64(0);
    uint32_t mxcsr = 0x7f80;
    uint16_t control = 0x007f;

    __asm__ volatile("ldmxcsr %1\n\t"
                     "fldcw %2\n\t"
                     "movsd %0, %%xmm15"
                     :
                     : "m"(value), "m"(mxcsr), "m"(control));
}

HL_EXPORT(get_float, "GetFloat() -> double")
{
    double value;
    __asm__ volatile("movsd %%xmm15, %0" : "=m"(value));
    hl_return_f64(value);
}

HL_EXPORT(get_mxcsr, "GetMxcsr() -> uint32")
{
    uint32_t mxcsr;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    hl_return_u32(mxcsr);
}

HL_EXPORT(get_fpu_control, "GetFpuControl() -> uint32")
{
    uint16_t control;
    __asm__ volatile("fnstcw %0" : "=m"(control));
    hl_return_u32(control);
}

/* ---- Memory, by address: nothing is checked, faults are the point ---- */

HL_EXPORT(allocate, "Allocate(uint64) -> uint64")
{
    hl_return_u64((uintptr_t)malloc(hl_arg_u64(0)));
}

HL_EXPORT(release, "Free(uint64) -> none") { free(pointer(hl_arg_u64(0))); }

HL_EXPORT(fill_heap, "FillHeap(uint64, uint64, int32) -> none")
{
    memset(pointer(hl_arg_u64(0)), hl_arg_i32(2), hl_arg_u64(1));
}

HL_EXPORT(read_memory, "Read(uint64, uint64) -> bytes")
{
    hl_return_bytes(hl_view(pointer(hl_arg_u64(0)), hl_arg_u64(1)));
}

HL_EXPORT(write_memory, "Write(uint64, bytes) -> none")
{
    struct hl_view bytes = hl_arg_bytes(1);
    memcpy(pointer(hl_arg_u64(0)), bytes.data, bytes.size);
}

HL_EXPORT(read_input, "ReadInput(uint64, uint64) -> bytes")
{
    uint64_t address = hl_guest_info()->input + hl_arg_u64(0);
    hl_return_bytes(hl_view(pointer(address), hl_arg_u64(1)));
}

/* By way of the heap, as the result itself overwrites what it is read from. */
HL_EXPORT(read_output, "ReadOutput(uint64, uint64) -> bytes")
{
    uint64_t address = hl_guest_info()->output + hl_arg_u64(0);
    size_t size = hl_arg_u64(1);
    void *copy = malloc(size);

    if (!copy)
        hl_fail(HL_ERROR_MEMORY, "no memory for %zu bytes", size);
    memcpy(copy, pointer(address), size);
    hl_return_bytes(hl_view(copy, size));
    free(copy);
}

HL_EXPORT(heap_base, "HeapBase() -> uint64")
{
    hl_return_u64(hl_guest_info()->heap);
}

/* ---- What does not end, or ends badly ---- */

HL_EXPORT(spin, "Spin() -> none")
{
    for (;;)
        __asm__ volatile("");
}

/* A frame of its own for every level, whatever the optimizer thinks. */
__attribute__((noinline)) static uint64_t recurse(uint64_t depth)
{
    volatile uint64_t frame[8];

    frame[0] = depth;
    if (depth == 0)
        return 0;
    uint64_t below = recurse(depth - 1);
    return below + (frame[0] == depth);
}

HL_EXPORT(recurse_deeply, "Recurse(uint64) -> uint64")
{
    hl_return_u64(recurse(hl_arg_u64(0)));
}

static void divide(void)
{
    __asm__ volatile("xor %%edx, %%edx\n\t"
                     "mov $1, %%eax\n\t"
                     "xor %%ecx, %%ecx\n\t"
                     "div %%ecx" ::
                         : "eax", "ecx", "edx");
}

static void undefined(void) { __asm__ volatile("ud2"); }
static void breakpoint(void) { __asm__ volatile("int3"); }
static void debug(void) { __asm__ volatile(".byte 0xf1"); }
static void privileged(void) { __asm__ volatile("hlt"); }
static void io(void) { __asm__ volatile("outb %%al, $0x80" ::: "memory"); }
static void system_call(void)
{
    __asm__ volatile("syscall" ::: "rcx", "r11", "memory");
}
static void int80(void) { __asm__ volatile("int $0x80" ::: "memory"); }

static void read_null(void)
{
    __asm__ volatile("movb (%0), %%al" ::"r"(0L) : "al", "memory");
}

static void write_null(void)
{
    __asm__ volatile("movb $1, (%0)" ::"r"(0L) : "memory");
}

static void write_code(void)
{
    __asm__ volatile("movb $0x90, (%0)" ::"r"(&write_code) : "memory");
}

static void execute_data(void)
{
    static unsigned char code[] = {0xc3}; /* ret */
    __asm__ volatile("call *%0" ::"r"(code) : "memory");
}

static void not_canonical(void)
{
    __asm__ volatile("movb (%0), %%al" ::"r"(UINT64_C(1) << 63)
                     : "al", "memory");
}

static void stack_overflow(void) { recurse(UINT64_MAX); }

/* An odd word while AC is set: #AC where CR0.AM is, else nothing.  RSP goes
 * past the bytes below it, which are the compiler's to use. */
static void alignment(void)
{
    uint64_t words[2] = {0, 0};
    __asm__ volatile("sub $128, %%rsp\n\t"
                     "pushfq\n\t"
                     "orl $0x40000, (%%rsp)\n\t"
                     "popfq\n\t"
                     "movl 1(%0), %%eax\n\t"
                     "pushfq\n\t"
                     "andl $~0x40000, (%%rsp)\n\t"
                     "popfq\n\t"
                     "add $128, %%rsp" ::"r"(words)
                     : "eax", "cc", "memory");
}

static void fpu(void)
{
    uint16_t control = 0x037b; /* division by zero is not masked */
    __asm__ volatile("fninit\n\t"
                     "fldcw %0\n\t"
                     "fld1\n\t"
                     "fldz\n\t"
                     "fdivrp\n\t"
                     "fwait" ::"m"(control));
}

static void simd(void)
{
    uint32_t mxcsr = 0x1d80; /* division by zero is not masked */
    double one = 1, zero = 0;
    __asm__ volatile("ldmxcsr %0\n\t"
                     "movsd %1, %%xmm0\n\t"
                     "divsd %2, %%xmm0" ::"m"(mxcsr),
                     "m"(one), "m"(zero)
                     : "xmm0");
}

static void stack_smash(void)
{
    char small[16];
    volatile size_t size = 64; /* the compiler is not to see it */
    char *volatile to = small;
    memset(to, 'x', size);
}

HL_EXPORT(fault, "Fault(str) -> none")
{
    static const struct {
        const char *kind;
        void (*function)(void);
    } faults[] = {
        {"divide", divide},
        {"undefined", undefined},
        {"breakpoint", breakpoint},
        {"debug", debug},
        {"privileged", privileged},
        {"io", io},
        {"read-null", read_null},
        {"write-null", write_null},
        {"write-code", write_code},
        {"execute-data", execute_data},
        {"not-canonical", not_canonical},
        {"stack-overflow", stack_overflow},
        {"alignment", alignment},
        {"fpu", fpu},
        {"simd", simd},
        {"syscall", system_call},
        {"int80", int80},
        {"abort", abort},
        {"stack-smash", stack_smash},
    };
    struct hl_view kind = hl_arg_str(0);

    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        if (strlen(faults[i].kind) == kind.size &&
            memcmp(faults[i].kind, kind.data, kind.size) == 0) {
            faults[i].function();
            return;
        }
    hl_fail(HL_ERROR_GUEST, "no fault \"%.*s\"", (int)kind.size, kind.data);
}
