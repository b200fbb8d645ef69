#ifndef HL_GUEST_INCLUDE_SETJMP_H
#define HL_GUEST_INCLUDE_SETJMP_H

typedef unsigned long jmp_buf[8];

__attribute__((returns_twice)) int setjmp(jmp_buf buffer);
__attribute__((noreturn)) void longjmp(jmp_buf buffer, int value);

#endif
