/* What this driver uses of the Windows Hypervisor Platform: Microsoft's own
 * header, and numbers that it leaves to others (winerror.h).
 *
 * Everything in it is of Windows 10 1803, but for dirty pages, which came with
 * 1809. */
#ifndef HL_VM_WHP_UAPI_H
#define HL_VM_WHP_UAPI_H

#include "base.h"

#include <windows.h>

#include <winhvplatform.h>

#define HL_WHP_PAGE ((size_t)4096)

/* Errors. */
#define HL_WHV_E_INSUFFICIENT_BUFFER ((HRESULT)0x80370301)
#define HL_WHV_E_GPA_RANGE_NOT_FOUND ((HRESULT)0x80370305)
#define HL_WHV_E_INVALID_VP_REGISTER_NAME ((HRESULT)0x80370309)

_Static_assert(sizeof(WHV_REGISTER_VALUE) == 16, "winhvplatformdefs.h");
_Static_assert(sizeof(WHV_RUN_VP_EXIT_CONTEXT) == 224, "winhvplatformdefs.h");
_Static_assert(offsetof(WHV_RUN_VP_EXIT_CONTEXT, IoPortAccess) == 48,
               "winhvplatformdefs.h");

#endif
