/* The least that a C test needs: say what failed, count what passed. */
#ifndef HL_TESTS_CHECK_H
#define HL_TESTS_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__,  \
                    __func__, #condition);                                    \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

/* Run one test function and say so. */
#define RUN(test)                                                             \
    do {                                                                      \
        test();                                                               \
        printf("ok %s\n", #test);                                             \
        fflush(stdout);                                                       \
    } while (0)

/* How often to do something random: ThreadSanitizer takes some 20 times as
 * long, and what threads do meanwhile differs each time. */
#ifdef __SANITIZE_THREAD__
#define FEWER_IF_SLOW(n) ((n) / 5)
#else
#define FEWER_IF_SLOW(n) (n)
#endif

/* xorshift64*: the same numbers everywhere. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

#endif
