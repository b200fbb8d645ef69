/* Strings: small loops, for short texts.  mem.c handles long ones. */
#include <string.h>

#include <stdint.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

/* C's searches take const and give it back without. */
static char *writable(const char *text) { return (char *)(uintptr_t)text; }

size_t strnlen(const char *text, size_t limit)
{
    const char *end = memchr(text, '\0', limit);
    return end ? (size_t)(end - text) : limit;
}

char *stpcpy(char *restrict to, const char *restrict from)
{
    size_t size = strlen(from);
    memcpy(to, from, size + 1);
    return to + size;
}

char *strcpy(char *restrict to, const char *restrict from)
{
    stpcpy(to, from);
    return to;
}

char *strncpy(char *restrict to, const char *restrict from, size_t size)
{
    size_t length = strnlen(from, size);
    memcpy(to, from, length);
    memset(to + length, 0, size - length);
    return to;
}

char *strcat(char *restrict to, const char *restrict from)
{
    stpcpy(to + strlen(to), from);
    return to;
}

char *strncat(char *restrict to, const char *restrict from, size_t size)
{
    char *end = to + strlen(to);
    size_t length = strnlen(from, size);
    memcpy(end, from, length);
    end[length] = '\0';
    return to;
}

int strncmp(const char *a, const char *b, size_t size)
{
    const unsigned char *p = (const unsigned char *)a;
    const unsigned char *q = (const unsigned char *)b;

    for (; size > 0; size--, p++, q++)
        if (*p != *q || *p == '\0')
            return *p - *q;
    return 0;
}

int strcmp(const char *a, const char *b) { return strncmp(a, b, SIZE_MAX); }

int strcoll(const char *a, const char *b) { return strcmp(a, b); }

char *strchr(const char *text, int byte)
{
    for (;; text++) {
        if (*text == (char)byte)
            return writable(text);
        if (*text == '\0')
            return NULL;
    }
}

char *strrchr(const char *text, int byte)
{
    return memrchr(text, byte, strlen(text) + 1);
}

char *strstr(const char *text, const char *part)
{
    size_t size = strlen(part);

    if (size == 0)
        return writable(text);
    while ((text = strchr(text, *part)) != NULL) {
        if (strncmp(text, part, size) == 0)
            return writable(text);
        text++;
    }
    return NULL;
}

size_t strcspn(const char *text, const char *set)
{
    size_t i = 0;
    while (!strchr(set, text[i])) /* which finds the terminator too */
        i++;
    return i;
}

size_t strspn(const char *text, const char *set)
{
    size_t i = 0;
    while (text[i] != '\0' && strchr(set, text[i]))
        i++;
    return i;
}

char *strpbrk(const char *text, const char *set)
{
    text += strcspn(text, set);
    return *text ? writable(text) : NULL;
}

char *strtok_r(char *restrict text, const char *restrict set,
               char **restrict rest)
{
    char *word = text ? text : *rest;

    word += strspn(word, set);
    *rest = word + strcspn(word, set);
    if (**rest != '\0')
        *(*rest)++ = '\0';
    return *word ? word : NULL;
}

char *strtok(char *restrict text, const char *restrict set)
{
    static char *rest;
    return strtok_r(text, set, &rest);
}

char *strerror(int number)
{
    static char unknown[] = "error";
    static char none[] = "no error";
    return number ? unknown : none;
}
