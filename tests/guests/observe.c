/* Reads everything that a guest can read, and changes everything that it can
 * change, but for time. */
#include <hyperlight.h>
#include <stdlib.h>
#include <string.h>

/* ---- What can be read ---- */

/* FNV-1a by 8 bytes: what differs has another sum. */
HL_EXPORT(digest, "Digest(uint64, uint64) -> uint64")
{
    const volatile uint64_t *at = (const uint64_t *)hl_arg_u64(0);
    uint64_t size = hl_arg_u64(1), sum = 0xcbf29ce484222325;

    for (uint64_t i = 0; i < size / 8; i++)
        sum = (sum ^ at[i]) * 0x100000001b3;
    hl_return_u64(sum);
}

HL_EXPORT(peek, "Peek(uint64, uint64) -> bytes")
{
    hl_return_bytes(hl_view((const void *)hl_arg_u64(0), hl_arg_u64(1)));
}

/* The same of 64 bytes, after so many pages were written. */
HL_EXPORT(late, "Late(uint64, uint64) -> bytes")
{
    uint64_t pages = hl_arg_u64(1);
    volatile char *heap = pages ? malloc(pages * 4096) : NULL;

    for (uint64_t i = 0; heap && i < pages; i++)
        heap[i * 4096] = 1;
    hl_return_bytes(hl_view((const void *)hl_arg_u64(0), 64));
}

static struct {
    uint64_t rsp, rflags, rbx, rbp, r12, r13, r14, r15;
    uint16_t ds, es, fs, gs, cs, ss;
    uint32_t mxcsr;
    unsigned char environment[32];
    unsigned char fxsave[512] __attribute__((aligned(16)));
} seen;

HL_EXPORT(registers, "Registers() -> bytes")
{
    __asm__ volatile("fxsave64 %0" : "=m"(seen.fxsave));
    __asm__ volatile("fnstenv %0" : "=m"(seen.environment));
    __asm__ volatile("fldenv %0" : : "m"(seen.environment));
    __asm__ volatile("stmxcsr %0" : "=m"(seen.mxcsr));
    __asm__ volatile("mov %%rsp, %0" : "=m"(seen.rsp));
    __asm__ volatile("pushfq; popq %0" : "=r"(seen.rflags));
    __asm__ volatile("mov %%rbx, %0" : "=m"(seen.rbx));
    __asm__ volatile("mov %%rbp, %0" : "=m"(seen.rbp));
    __asm__ volatile("mov %%r12, %0" : "=m"(seen.r12));
    __asm__ volatile("mov %%r13, %0" : "=m"(seen.r13));
    __asm__ volatile("mov %%r14, %0" : "=m"(seen.r14));
    __asm__ volatile("mov %%r15, %0" : "=m"(seen.r15));
    __asm__ volatile("mov %%ds, %0" : "=m"(seen.ds));
    __asm__ volatile("mov %%es, %0" : "=m"(seen.es));
    __asm__ volatile("mov %%fs, %0" : "=m"(seen.fs));
    __asm__ volatile("mov %%gs, %0" : "=m"(seen.gs));
    __asm__ volatile("mov %%cs, %0" : "=m"(seen.cs));
    __asm__ volatile("mov %%ss, %0" : "=m"(seen.ss));
    hl_return_bytes(hl_view(&seen, sizeof seen));
}

/* All components of XSAVE that there are; nothing where it is switched off. */
HL_EXPORT(extended, "Extended() -> bytes")
{
    static unsigned char area[16384] __attribute__((aligned(64)));
    uint32_t eax = 1, ebx, ecx = 0, edx;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    if (!(ecx >> 27 & 1)) {
        hl_return_bytes(hl_view(area, 0));
        return;
    }
    memset(area, 0, sizeof area);
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    memcpy(area, &eax, sizeof eax);
    hl_return_bytes(hl_view(area, 8));
    /* Bits 63 and 62 are no components. */
    __asm__ volatile("xsave64 (%0)"
                     :
                     : "r"(area), "a"(UINT32_MAX), "d"(0x3fffffff)
                     : "memory");
    hl_return_bytes(hl_view(area, 4096));
}

/* Each may be refused by the processor. */
HL_EXPORT(odd, "Odd(int32) -> bytes")
{
    static uint64_t out[2];

    out[0] = out[1] = 0;
    switch (hl_arg_i32(0)) {
    case 0:
        __asm__ volatile("rdfsbase %0" : "=r"(out[0]));
        break;
    case 1:
        __asm__ volatile("rdgsbase %0" : "=r"(out[0]));
        break;
    case 2:
        __asm__ volatile("sgdt %0" : "=m"(out));
        break;
    case 3:
        __asm__ volatile("sidt %0" : "=m"(out));
        break;
    case 4:
        __asm__ volatile("sldt %0" : "=r"(out[0]));
        break;
    case 5:
        __asm__ volatile("str %0" : "=r"(out[0]));
        break;
    case 6:
        __asm__ volatile("smsw %0" : "=r"(out[0]));
        break;
    default:
        __asm__ volatile("rdpkru" : "=a"(out[0]) : "c"(0) : "rdx");
    }
    hl_return_bytes(hl_view(out, sizeof out));
}

/* ---- What can be changed ---- */

static volatile uint64_t soiled[4096];

static __attribute__((noinline)) void soil_stack(uint64_t secret)
{
    volatile uint64_t deep[3000];

    for (size_t i = 0; i < 3000; i++)
        deep[i] = secret;
    (void)deep[2999];
}

static void soil_vectors(uint64_t secret)
{
    static uint64_t wide[8] __attribute__((aligned(64)));
    uint32_t eax = 1, ebx, ecx = 0, edx, control = 0x7fc0;
    uint16_t word = 0x0c7f;

    for (int i = 0; i < 8; i++)
        wide[i] = secret + (uint64_t)i;
    __asm__ volatile("ldmxcsr %0; fldcw %1; fldpi; fldl2e"
                     :
                     : "m"(control), "m"(word));
#define SSE(n) __asm__ volatile("movaps %0, %%xmm" #n : : "m"(wide))
    SSE(0);
    SSE(1);
    SSE(2);
    SSE(7);
    SSE(8);
    SSE(14);
    SSE(15);
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    if ((ecx >> 27 & 3) != 3)
        return;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    if ((eax & 6) != 6)
        return;
    __asm__ volatile("vmovaps %0, %%ymm15; vmovaps %0, %%ymm3" : : "m"(wide));
    if ((eax & 0xe0) == 0xe0)
        __asm__ volatile("vmovaps %0, %%zmm31; kmovq %%rax, %%k3"
                         :
                         : "m"(wide), "a"(secret));
}

HL_EXPORT(soil, "Soil(uint64, bytes) -> bytes")
{
    uint64_t secret = hl_arg_u64(0);
    uint64_t *heap = malloc(60000);

    for (size_t i = 0; i < 4096; i++)
        soiled[i] = secret;
    for (size_t i = 0; heap && i < 60000 / 8; i++)
        heap[i] = secret;
    soil_stack(secret);
    hl_return_bytes(hl_arg_bytes(1));
    soil_vectors(secret);
    /* ID, which any program can set. */
    __asm__ volatile("pushfq; orq $0x200000, (%%rsp); popfq" : : : "cc");
}

/* DS, ES and GS, and ends as a call does. */
HL_EXPORT(selectors, "Selectors(uint32) -> none")
{
    uint32_t selector = hl_arg_u32(0);

    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%gs"
                     :
                     : "r"(selector));
}

/* FS as well, behind which nothing of C works any more. */
HL_EXPORT(all_selectors, "AllSelectors(uint32) -> none")
{
    uint32_t selector = hl_arg_u32(0);

    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%gs; mov %0, %%fs;"
                     "ud2"
                     :
                     : "r"(selector));
}

/* PKRU, where it can be changed. */
HL_EXPORT(keys, "Keys(uint32) -> none")
{
    __asm__ volatile("wrpkru" : : "a"(hl_arg_u32(0)), "c"(0), "d"(0));
}

HL_EXPORT(bases, "Bases(uint64) -> none")
{
    uint64_t base = hl_arg_u64(0);

    __asm__ volatile("wrgsbase %0; wrfsbase %0; ud2" : : "r"(base));
}

/* ---- Ways to leave ---- */

HL_EXPORT(undefined, "Undefined() -> none") { __asm__ volatile("ud2"); }

/* With AC set, behind which little of C works. */
HL_EXPORT(aligned, "Aligned() -> none")
{
    __asm__ volatile("pushfq; orq $0x40000, (%%rsp); popfq; ud2" : : : "cc");
}

HL_EXPORT(null, "Null() -> none") { *(volatile char *)0 = 1; }

HL_EXPORT(spin, "Spin() -> none")
{
    for (;;)
        __asm__ volatile("pause");
}

HL_EXPORT(two, "Two(bytes, int32) -> int32") { hl_return_i32(hl_arg_i32(1)); }

HL_EXPORT(fail, "Fail() -> none") { hl_fail(1234, "no"); }

HL_EXPORT(ask, "Ask() -> int32")
{
    hl_return_i32(hl_host_call(HL_I32, "Answer").i32);
}

/* No zeroes: those are what a port without a device gives. */
static unsigned char in_place[4096] = {[0 ... 4095] = 0x77};

/* Bytes, or longs where `wide`, from the guest's port, `count` times by REP if
 * it is above 0; downwards if `down`. */
HL_EXPORT(ins, "Ins(uint64, bool, bool) -> none")
{
    uint64_t count = hl_arg_u64(0);
    void *to = in_place + 2048;

    if (hl_arg_bool(2))
        __asm__ volatile("std");
    if (count == 0)
        __asm__ volatile("insb" : "+D"(to) : "d"(HL_PORT_GUEST) : "memory");
    else if (hl_arg_bool(1))
        __asm__ volatile("rep insl"
                         : "+D"(to), "+c"(count)
                         : "d"(HL_PORT_GUEST)
                         : "memory");
    else
        __asm__ volatile("rep insb"
                         : "+D"(to), "+c"(count)
                         : "d"(HL_PORT_GUEST)
                         : "memory");
    __asm__ volatile("cld");
}

HL_EXPORT(in, "In() -> none")
{
    __asm__ volatile("inb $0x48, %%al" : : : "rax");
}

HL_EXPORT(outs, "Outs(uint64) -> none")
{
    uint64_t count = hl_arg_u64(0);
    const void *from = in_place;

    if (count == 0)
        __asm__ volatile("outsb"
                         : "+S"(from)
                         : "d"(HL_PORT_GUEST), "a"(HL_LEAVE_ABORT));
    else
        __asm__ volatile("rep outsb"
                         : "+S"(from), "+c"(count)
                         : "d"(HL_PORT_GUEST), "a"(HL_LEAVE_ABORT));
}
