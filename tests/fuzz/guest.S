/* A guest for random machine code: it runs what it is told to run, and says
 * everything that a guest can see.
 *
 *   Go(uint64, bytes) -> none    load fifteen registers from the bytes (all
 *                                but RSP) and jump to the address
 *   See(uint64, bytes) -> bytes  registers as they were when the call came,
 *                                and then the memory that the bytes name:
 *                                pairs of address and length.  The number says
 *                                which of the instructions behind `optional`
 *                                to run
 *   Fill(uint64, bytes) -> none  every byte of the memory that the bytes name
 *   Vec(uint64) -> none          vector, x87 and general registers that follow
 *                                from the number
 *   Nop() -> none
 *
 * The first letter of the name tells them apart.  RANDOM is where the fuzzer
 * puts code, marked by 16 bytes that it looks for; a page before it code can
 * end its call. */
#include "guest/abi.h"

#define REASON_READY $HL_LEAVE_READY

/* Kinds of messages: an enum in abi.h, which only C can read. */
#define RESULT 2
#define FUNCTIONS 5

/* Offsets in a call whose name has up to 8 bytes. */
#define NAME 40
#define FIRST 56   /* a number */
#define SECOND 80  /* bytes */
#define LENGTH 72

    .section .bss
    .balign 64
saved:
    .skip 8 * 64
vectors: /* right behind it */
    .skip 4096

    .section .data
    .balign 4096
    /* Something for random code to destroy. */
    .rept 512
    .quad 0x1122334455667788
    .endr
target:
    .quad 0
info:
    .quad 0
stack:
    .quad 0

    .section .rodata
    .balign 8
exports:
    .long HL_MESSAGE_MAGIC, FUNCTIONS
    .quad exports_end - exports
    .long 5, 0
    .macro export text
    .long 8, 0
    .quad 2f - 1f
1:  .ascii "\text"
2:  .balign 8
    .endm
    export "Go(uint64, bytes) -> none"
    export "See(uint64, bytes) -> bytes"
    export "Fill(uint64, bytes) -> none"
    export "Vec(uint64) -> none"
    export "Nop() -> none"
exports_end:

    .text
    .global _start
_start:
    mov %rdi, %rbx
    mov %rdi, info(%rip)
    mov %rsp, stack(%rip)
    mov 0x30(%rbx), %rdi
    lea exports(%rip), %rsi
    mov $exports_end - exports, %ecx
    rep movsb
    mov REASON_READY, %eax
leave:
    out %al, $HL_PORT_GUEST
    /* Everything as it was put back; RAX is the call. */
    mov %rbx, saved + 8(%rip)
    mov %rcx, saved + 16(%rip)
    mov %rdx, saved + 24(%rip)
    mov %rsi, saved + 32(%rip)
    mov %rdi, saved + 40(%rip)
    mov %rbp, saved + 48(%rip)
    mov %rsp, saved + 56(%rip)
    mov %r8, saved + 64(%rip)
    mov %r9, saved + 72(%rip)
    mov %r10, saved + 80(%rip)
    mov %r11, saved + 88(%rip)
    mov %r12, saved + 96(%rip)
    mov %r13, saved + 104(%rip)
    mov %r14, saved + 112(%rip)
    mov %r15, saved + 120(%rip)
    mov %rax, saved + 0(%rip)
    mov %ds, %ecx
    mov %rcx, saved + 128(%rip)
    mov %es, %ecx
    mov %rcx, saved + 136(%rip)
    mov %fs, %ecx
    mov %rcx, saved + 144(%rip)
    mov %gs, %ecx
    mov %rcx, saved + 152(%rip)
    mov %ss, %ecx
    mov %rcx, saved + 160(%rip)
    mov %cs, %ecx
    mov %rcx, saved + 168(%rip)
    pushfq
    pop %rcx
    mov %rcx, saved + 176(%rip)
    cld
    mov %rax, %r12
    mov NAME(%r12), %cl
    cmp $'G', %cl
    je go
    cmp $'S', %cl
    je see
    cmp $'F', %cl
    je fill
    cmp $'V', %cl
    je vec

nothing: /* a result: NONE */
    mov 0x30(%rbx), %rdi
write_none:
    movabs $(RESULT << 32 | HL_MESSAGE_MAGIC), %rax
    stosq
    mov $40, %eax
    stosq
    mov $1, %eax
    stosq
    xor %eax, %eax
    stosq
    stosq
    mov REASON_READY, %eax
    jmp leave

go:
    mov FIRST(%r12), %rax
    mov %rax, target(%rip)
    lea SECOND(%r12), %rax
    mov 0(%rax), %rcx
    mov 8(%rax), %rdx
    mov 16(%rax), %rbx
    mov 24(%rax), %rbp
    mov 32(%rax), %rsi
    mov 40(%rax), %rdi
    mov 48(%rax), %r8
    mov 56(%rax), %r9
    mov 64(%rax), %r10
    mov 72(%rax), %r11
    mov 80(%rax), %r12
    mov 88(%rax), %r13
    mov 96(%rax), %r14
    mov 104(%rax), %r15
    mov 112(%rax), %rax
    jmp *target(%rip)

fill:
    mov FIRST(%r12), %rax
    lea SECOND(%r12), %r14
    mov LENGTH(%r12), %r15
    add %r14, %r15
1:  cmp %r15, %r14
    jae nothing
    mov 0(%r14), %rdi
    mov 8(%r14), %rcx
    add $16, %r14
    rep stosb
    jmp 1b

vec:
    mov FIRST(%r12), %rax
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    lea \n(%rax), %rcx
    movq %rcx, %xmm\n
    punpcklqdq %xmm\n, %xmm\n
    .endr
    .irp n, 8,9,10,11,13,14,15
    lea \n(%rax), %r\n
    .endr
    mov %rax, %rbp
    mov %rax, target(%rip)
    fninit
    fildll target(%rip)
    fldpi
    movl $0x7f80, target(%rip)
    ldmxcsr target(%rip)
    movl $0x007f, target(%rip)
    fldcw target(%rip)
    jmp nothing

    .macro optional bit, text:vararg
    test $1 << \bit, %r13d
    jz 1f
    \text
1:
    .endm
see:
    mov FIRST(%r12), %r13
    /* Vector state before anything touches it. */
    fxsave64 vectors(%rip)
    test $1, %r13d
    jz 1f
    mov $0xe7, %eax
    xor %edx, %edx
    xsave64 vectors + 512(%rip)
1:
    test $2, %r13d
    jz 1f
    rdfsbase %rax
    mov %rax, saved + 184(%rip)
    rdgsbase %rax
    mov %rax, saved + 192(%rip)
1:
    optional 2, sgdt saved + 200(%rip)
    optional 3, sidt saved + 216(%rip)
    optional 4, sldt saved + 232(%rip)
    optional 5, str saved + 240(%rip)
    optional 6, smsw saved + 248(%rip)
    test $1 << 7, %r13d
    jz 1f
    xor %ecx, %ecx
    xgetbv
    mov %rax, saved + 256(%rip)
1:
    test $1 << 8, %r13d
    jz 1f
    xor %ecx, %ecx
    rdpkru
    mov %rax, saved + 264(%rip)
1:
    mov %fs:0, %rax
    mov %rax, saved + 272(%rip)
    /* The result begins 40 bytes into the output, and is all of the rest of
     * it, with what was there already. */
    mov 0x30(%rbx), %rdi
    movabs $(RESULT << 32 | HL_MESSAGE_MAGIC), %rax
    stosq
    mov 0x38(%rbx), %rax
    stosq
    mov %rax, %rdx
    mov $1, %eax
    stosq
    mov $9, %eax
    stosq
    lea -40(%rdx), %rax
    stosq
    lea saved(%rip), %rsi
    mov $8 * 64, %ecx
    rep movsb
    lea vectors(%rip), %rsi
    mov $4096, %ecx
    rep movsb
    /* What was written there now is no state; parts of it, such as where the
     * host has its tables, are another each time. */
    mov %rdi, %rdx
    lea saved(%rip), %rdi
    mov $8 * 64 + 4096, %ecx
    xor %eax, %eax
    rep stosb
    mov %rdx, %rdi
    lea SECOND(%r12), %r14
    mov LENGTH(%r12), %r15
    add %r14, %r15
2:  cmp %r15, %r14
    jae 3f
    mov 0(%r14), %rsi
    mov 8(%r14), %rcx
    add $16, %r14
    rep movsb
    jmp 2b
3:  mov REASON_READY, %eax
    jmp leave

    /* Where random code can jump to, to end its call well: all but RAX, RBX,
     * RDI and RSP stays what it made of it. */
    .balign 4096
done:
    mov info(%rip), %rbx
    mov stack(%rip), %rsp
    mov 0x30(%rbx), %rdi
    cld
    jmp write_none

    /* Where random code goes: whole pages of their own. */
    .balign 4096
random:
    .ascii "RANDOM CODE HERE"
    .fill 65536 - 16, 1, 0x90
    .balign 4096
