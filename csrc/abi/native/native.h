/* The ABI of guests that are built with this project's SDK (guest/abi.h). */
#ifndef HL_ABI_NATIVE_NATIVE_H
#define HL_ABI_NATIVE_NATIVE_H

#include "abi/abi.h"
#include "abi/native/call.h"

/* The messages of a native guest; valid as long as its hl_abi, which must be
 * one that hl_abi_native or a table with its start() made. */
struct hl_call *hl_native_call(struct hl_abi *abi);

#endif
