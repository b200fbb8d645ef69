/* What the fuzzers written in C share: a clock, a source of numbers, and the
 * promise that the input which broke something is in a file afterwards.
 *
 * Usage of each: PROGRAM --seed N --seconds S --save FILE [CORPUS ...]
 *                PROGRAM --replay FILE
 *
 * The input under test is announced with fuzz_input(); whatever ends the
 * program then, a check, a sanitizer or the watchdog, writes it to FILE. */
#ifndef HL_TESTS_FUZZ_H
#define HL_TESTS_FUZZ_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* An input takes microseconds: one that takes this long hangs. */
#define FUZZ_HANG 20 /* seconds */

struct fuzz {
    uint64_t seed, state;
    double seconds, started;
    const char *save, *replay;
    int corpus_count;
    char **corpus;
    const void *input;
    size_t input_size;
};

static struct fuzz fuzz;

static double fuzz_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* splitmix64: any seed will do, 0 too. */
static uint64_t fuzz_next(void)
{
    uint64_t z = fuzz.state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Below n, which is not 0. */
static uint64_t fuzz_below(uint64_t n) { return fuzz_next() % n; }

static void fuzz_input(const void *input, size_t size)
{
    fuzz.input = input;
    fuzz.input_size = size;
    alarm(FUZZ_HANG);
}

/* Async-signal-safe enough for a program that is about to end. */
static void fuzz_write_input(void)
{
    if (!fuzz.save || !fuzz.input)
        return;
    FILE *f = fopen(fuzz.save, "wb");
    if (!f)
        return;
    (void)!fwrite(fuzz.input, 1, fuzz.input_size, f);
    fclose(f);
    fprintf(stderr, "the input was written to %s\n", fuzz.save);
}

static void fuzz_hangs(int signal)
{
    (void)signal;
    fprintf(stderr, "one input takes more than %d s\n", FUZZ_HANG);
    fuzz_write_input();
    _exit(1);
}

#define FUZZ_CHECK(condition)                                                 \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__,  \
                    __func__, #condition);                                    \
            fuzz_write_input();                                               \
            _exit(1);                                                         \
        }                                                                     \
    } while (0)

/* Where a sanitizer is linked, it calls this before it ends the program. */
void __sanitizer_set_death_callback(void (*callback)(void))
    __attribute__((weak));

static void fuzz_begin(int argc, char **argv)
{
    fuzz.seconds = 1;
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            fuzz.seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--seconds") == 0)
            fuzz.seconds = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--save") == 0)
            fuzz.save = argv[i + 1];
        else if (strcmp(argv[i], "--replay") == 0)
            fuzz.replay = argv[i + 1];
        else
            exit(2);
    }
    fuzz.corpus = argv + i;
    fuzz.corpus_count = argc - i;
    fuzz.state = fuzz.seed;
    fuzz.started = fuzz_now();
    signal(SIGALRM, fuzz_hangs);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(fuzz_write_input);
}

static bool fuzz_time_left(void)
{
    return fuzz_now() - fuzz.started < fuzz.seconds;
}

/* A whole file, for free(); NULL: there is none. */
static unsigned char *fuzz_read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    long end = ftell(f);
    rewind(f);
    *size = end > 0 ? (size_t)end : 0;
    unsigned char *bytes = malloc(*size ? *size : 1);
    if (fread(bytes, 1, *size, f) != *size) {
        free(bytes);
        bytes = NULL;
    }
    fclose(f);
    return bytes;
}

/* A number that is likely to be at an edge of something. */
__attribute__((unused)) static uint64_t fuzz_edge(void)
{
    static const uint64_t edges[] = {
        0,          1,          7,          8,          16,         24,
        0xfff,      0x1000,     0x1001,     0x2000,     0xffff,     0x10000,
        0xfffff,    0x100000,   0x200000,   0x3fffffff, 0x40000000, 0x7fffffff,
        0x80000000, 0xbfffffff, 0xc0000000, 0xffffffff, 1ULL << 32, 1ULL << 47,
        INT64_MAX,  1ULL << 63, -4096ULL,   -8ULL,      UINT64_MAX,
    };
    uint64_t n = sizeof edges / sizeof edges[0];
    switch (fuzz_below(4)) {
    case 0:
        return fuzz_next() >> fuzz_below(64);
    case 1:
        return edges[fuzz_below(n)] + fuzz_below(17) - 8;
    default:
        return edges[fuzz_below(n)];
    }
}

#endif
