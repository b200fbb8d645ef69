#undef assert
#ifdef NDEBUG
#define assert(condition) ((void)0)
#else
#define assert(condition)                                                     \
    ((condition) ? (void)0                                                    \
                 : __assert_fail(#condition, __FILE__, __LINE__, __func__))
#endif

#ifndef HL_GUEST_INCLUDE_ASSERT_H
#define HL_GUEST_INCLUDE_ASSERT_H

#define static_assert _Static_assert

__attribute__((noreturn)) void __assert_fail(const char *condition,
                                             const char *file, unsigned line,
                                             const char *function);

#endif
