/* Ways out of a function that C has no words for: to the host, and past the
 * functions that called it. */
#include "abi.h"

    .text

/* const struct hl_message *hl_leave(uint64_t reason) */
    .globl hl_leave
    .type hl_leave, @function
hl_leave:
    mov %rdi, %rax
    outb %al, $HL_PORT_GUEST
    ret
    .size hl_leave, . - hl_leave

/* int hl_run(void (*function)(void)): keeps RSP where hl_unwind finds it, with
 * the registers that a function must give back below it. */
    .globl hl_run
    .type hl_run, @function
hl_run:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    sub $8, %rsp
    mov %rsp, run_stack(%rip)
    call *%rdi
    xor %eax, %eax
1:  add $8, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size hl_run, . - hl_run

/* void hl_unwind(void) */
    .globl hl_unwind
    .type hl_unwind, @function
hl_unwind:
    mov run_stack(%rip), %rsp
    mov $1, %eax
    cld
    jmp 1b
    .size hl_unwind, . - hl_unwind

/* int setjmp(jmp_buf): RBX RBP R12-R15, RSP behind the return, RIP. */
    .globl setjmp
    .weak _setjmp, __sigsetjmp
    .type setjmp, @function
    /* There is no signal mask to save: the names are one. */
    .set _setjmp, setjmp
    .set __sigsetjmp, setjmp
setjmp:
    mov %rbx, (%rdi)
    mov %rbp, 8(%rdi)
    mov %r12, 16(%rdi)
    mov %r13, 24(%rdi)
    mov %r14, 32(%rdi)
    mov %r15, 40(%rdi)
    lea 8(%rsp), %rdx
    mov %rdx, 48(%rdi)
    mov (%rsp), %rdx
    mov %rdx, 56(%rdi)
    xor %eax, %eax
    ret
    .size setjmp, . - setjmp

/* void longjmp(jmp_buf, int): what setjmp then returns is never 0. */
    .globl longjmp
    .weak _longjmp, siglongjmp, __longjmp_chk
    .type longjmp, @function
    .set _longjmp, longjmp
    .set siglongjmp, longjmp
    .set __longjmp_chk, longjmp
longjmp:
    mov %esi, %eax
    cmp $1, %eax
    adc $0, %eax
    mov (%rdi), %rbx
    mov 8(%rdi), %rbp
    mov 16(%rdi), %r12
    mov 24(%rdi), %r13
    mov 32(%rdi), %r14
    mov 40(%rdi), %r15
    mov 48(%rdi), %rsp
    jmp *56(%rdi)
    .size longjmp, . - longjmp

    .section .bss.hl_each_call, "aw", @nobits /* internal.h */
    .balign 8
run_stack:
    .skip 8

    .section .note.GNU-stack, "", @progbits
