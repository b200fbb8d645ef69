/* Text of guests: is it what Python takes for UTF-8?
 *
 * Exactly what its strict decoder does (Unicode 15, table 3-7): shortest forms
 * only, no surrogates, nothing above U+10FFFF; U+0000 is a character.
 *
 * Nothing here allocates or locks.  The text must not change meanwhile. */
#ifndef HL_ABI_NATIVE_UTF8_H
#define HL_ABI_NATIVE_UTF8_H

#include "base.h"

bool hl_is_utf8(const char *text, size_t size);

#endif
