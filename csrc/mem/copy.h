/* Bytes: compare and copy memory that another thread may be writing.
 *
 * A copy made during a write may be torn.  Callers only copy when a tracker
 * will report the page as dirty afterwards, so a torn page is never trusted.
 * Only these functions may race like that: they are the only ones that
 * ThreadSanitizer is told to ignore.
 *
 * Sizes are multiples of 64 bytes, addresses aligned to 64. */
#ifndef HL_MEM_COPY_H
#define HL_MEM_COPY_H

#include "base.h"

void hl_copy(void *dst, const void *src, size_t size);

/* As hl_copy, for one of many pieces: the destination bypasses the caches,
 * which saves reading it before it is written.  Others may see the bytes late:
 * hl_copy_past_end, once after the last piece, ends that. */
void hl_copy_past(void *dst, const void *src, size_t size);
void hl_copy_past_end(void);

/* Of what is copied after the next piece: let its first bytes come meanwhile.
 * Costs little where they are there. */
void hl_copy_ahead(const void *src);

/* Whether pieces of so many bytes together are better copied so: they and what
 * they are copied from are more than the caches hold, so that caching them
 * would only drive out what is there, themselves included. */
bool hl_copy_is_past(size_t size);

void hl_zero(void *dst, size_t size);
bool hl_is_zero(const void *src, size_t size);
bool hl_equal(const void *a, const void *b, size_t size);

#endif
