/* Where a guest is entered. */

    .text

/* RDI: struct hl_guest_info. */
    .globl _start
    .type _start, @function
_start:
    xor %ebp, %ebp /* the outermost frame, for debuggers */
    and $-16, %rsp
    call hl_main
    ud2
    .size _start, . - _start

    .section .note.GNU-stack, "", @progbits
