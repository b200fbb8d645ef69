#ifndef HL_GUEST_INCLUDE_STDLIB_H
#define HL_GUEST_INCLUDE_STDLIB_H

#include <stddef.h>

#define EXIT_SUCCESS 0
#define EXIT_FAILURE 1
#define RAND_MAX 0x7fffffff

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *memory, size_t size);
void free(void *memory);
void *aligned_alloc(size_t alignment, size_t size);
int posix_memalign(void **memory, size_t alignment, size_t size);
size_t malloc_usable_size(void *memory);

/* Both end the guest; exit says with which status. */
__attribute__((noreturn)) void abort(void);
__attribute__((noreturn)) void exit(int status);

int abs(int number);
long labs(long number);
long long llabs(long long number);

int atoi(const char *text);
long atol(const char *text);
long long atoll(const char *text);
double atof(const char *text);
long strtol(const char *restrict text, char **restrict end, int base);
long long strtoll(const char *restrict text, char **restrict end, int base);
unsigned long strtoul(const char *restrict text, char **restrict end,
                      int base);
unsigned long long strtoull(const char *restrict text, char **restrict end,
                            int base);
double strtod(const char *restrict text, char **restrict end);
float strtof(const char *restrict text, char **restrict end);

void qsort(void *array, size_t count, size_t size,
           int (*compare)(const void *, const void *));
void *bsearch(const void *key, const void *array, size_t count, size_t size,
              int (*compare)(const void *, const void *));

/* The same numbers in every guest, until srand. */
int rand(void);
void srand(unsigned seed);

char *getenv(const char *name); /* NULL: there is no environment */

#endif
