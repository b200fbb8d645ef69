#include "mem/copy.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <emmintrin.h>
#endif

/* Where the processor does not say how large its last cache is. */
#define USUAL_CACHE ((size_t)32 << 20)

#if defined(__x86_64__)
/* The largest cache that these leaves of CPUID describe, or 0. */
static size_t largest_cache(unsigned leaf)
{
    unsigned a, b, c, d;
    size_t largest = 0;

    for (unsigned i = 0; i < 8 && __get_cpuid_count(leaf, i, &a, &b, &c, &d);
         i++) {
        if ((a & 31) == 0)
            break;
        size_t lines = ((b >> 22) + 1) * ((b >> 12 & 0x3ff) + 1) *
                       ((size_t)(b & 0xfff) + 1);
        size_t size = lines * ((size_t)c + 1);
        if (size > largest)
            largest = size;
    }
    return largest;
}

/* Not from sysconf, which counts the caches of several packages as one. */
static size_t find_cache(void)
{
    size_t size = largest_cache(0x8000001d); /* AMD's, elsewhere nothing */

    return size ? size : largest_cache(4);
}
#else
static size_t find_cache(void) { return 0; }
#endif

bool hl_copy_is_past(size_t size)
{
    /* Asked once: a hypervisor may take 30 us to answer. */
    static atomic_size_t known;
    size_t cache = atomic_load_explicit(&known, memory_order_relaxed);

    if (size < USUAL_CACHE / 64) /* no machine's */
        return false;
    if (cache == 0) {
        cache = find_cache();
        cache = cache ? cache : USUAL_CACHE;
        atomic_store_explicit(&known, cache, memory_order_relaxed);
    }
    return size >= cache / 2;
}

#if defined(__SANITIZE_THREAD__)
/* Word by word and invisible to the sanitizer: the races that callers allow
 * must not hide those that they do not. */
#define RACY __attribute__((no_sanitize("thread"), noinline))

RACY void hl_copy(void *dst, const void *src, size_t size)
{
    volatile uint64_t *to = dst;
    const volatile uint64_t *from = src;
    for (size_t i = 0; i < size / 8; i++)
        to[i] = from[i];
}

void hl_copy_past(void *dst, const void *src, size_t size)
{
    hl_copy(dst, src, size);
}

void hl_copy_past_end(void) {}

void hl_copy_ahead(const void *src) { (void)src; }

RACY void hl_zero(void *dst, size_t size)
{
    volatile uint64_t *to = dst;
    for (size_t i = 0; i < size / 8; i++)
        to[i] = 0;
}

RACY bool hl_is_zero(const void *src, size_t size)
{
    const volatile uint64_t *from = src;
    for (size_t i = 0; i < size / 8; i++)
        if (from[i] != 0)
            return false;
    return true;
}

RACY bool hl_equal(const void *a, const void *b, size_t size)
{
    const volatile uint64_t *one = a, *two = b;
    for (size_t i = 0; i < size / 8; i++)
        if (one[i] != two[i])
            return false;
    return true;
}
#else

void hl_copy(void *dst, const void *src, size_t size)
{
    memcpy(dst, src, size);
}

#if defined(__x86_64__)
/* So far ahead that a line has come when it is wanted.  Processors do not
 * fetch ahead beyond a 4 KiB page by themselves. */
#define AHEAD 512

/* SSE2 is enough: what counts is that whole lines are written.  memcpy does
 * the same from a size on that it takes for the cache's, but only within one
 * call, and pages that are not neighbours are many calls. */
void hl_copy_past(void *dst, const void *src, size_t size)
{
    char *to = dst;
    const char *from = src;

    for (size_t i = 0; i < size; i += 64) {
        const __m128i *line = (const __m128i *)(const void *)(from + i);
        __m128i *into = (__m128i *)(void *)(to + i);
        if (i + AHEAD < size)
            _mm_prefetch(from + i + AHEAD, _MM_HINT_NTA);
        __m128i a = _mm_load_si128(line), b = _mm_load_si128(line + 1);
        __m128i c = _mm_load_si128(line + 2), d = _mm_load_si128(line + 3);
        _mm_stream_si128(into, a);
        _mm_stream_si128(into + 1, b);
        _mm_stream_si128(into + 2, c);
        _mm_stream_si128(into + 3, d);
    }
}

void hl_copy_past_end(void) { _mm_sfence(); }

void hl_copy_ahead(const void *src)
{
    for (size_t i = 0; i < AHEAD; i += 64)
        _mm_prefetch((const char *)src + i, _MM_HINT_NTA);
}
#else
void hl_copy_ahead(const void *src) { (void)src; }

void hl_copy_past(void *dst, const void *src, size_t size)
{
    hl_copy(dst, src, size);
}

void hl_copy_past_end(void) {}
#endif

void hl_zero(void *dst, size_t size) { memset(dst, 0, size); }

typedef uint64_t vector __attribute__((vector_size(16), may_alias));

/* 64 bytes a step; most pages that are not zero differ in the first one. */
bool hl_is_zero(const void *src, size_t size)
{
    const vector *at = src;

    for (size_t i = 0; i < size / sizeof(vector); i += 4) {
        vector any = at[i] | at[i + 1] | at[i + 2] | at[i + 3];
        if (any[0] | any[1])
            return false;
    }
    return true;
}

/* Not memcmp: having found a difference, it reads the bytes again to tell
 * which is greater, and answers "equal" if they became equal in between,
 * without having looked at the rest.  Here every byte is read once. */
bool hl_equal(const void *a, const void *b, size_t size)
{
    const vector *one = a, *two = b;

    for (size_t i = 0; i < size / sizeof(vector); i += 4) {
        vector any = (one[i] ^ two[i]) | (one[i + 1] ^ two[i + 1]) |
                     (one[i + 2] ^ two[i + 2]) | (one[i + 3] ^ two[i + 3]);
        if (any[0] | any[1])
            return false;
    }
    return true;
}
#endif
