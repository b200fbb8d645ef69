/* The functions of WinHvPlatform.dll by which the whp driver speaks to the
 * hypervisor: one table, so that the driver can be tested where there is no
 * such library. */
#ifndef HL_VM_WHP_CALLS_H
#define HL_VM_WHP_CALLS_H

#include "base.h"
#include "vm/whp/uapi.h"
#include "why.h"

/* As WHvGetCapability and so on.  Those at the end are NULL where the library
 * is too old to have them, or too new. */
struct hl_whp_calls {
    HRESULT(WINAPI *get_capability)
    (WHV_CAPABILITY_CODE code, void *buffer, UINT32 size, UINT32 *written);
    HRESULT(WINAPI *create_partition)(WHV_PARTITION_HANDLE *out);
    HRESULT(WINAPI *setup_partition)(WHV_PARTITION_HANDLE p);
    HRESULT(WINAPI *delete_partition)(WHV_PARTITION_HANDLE p);
    HRESULT(WINAPI *set_property)
    (WHV_PARTITION_HANDLE p, WHV_PARTITION_PROPERTY_CODE code,
     const void *buffer, UINT32 size);
    HRESULT(WINAPI *map)
    (WHV_PARTITION_HANDLE p, void *host, WHV_GUEST_PHYSICAL_ADDRESS addr,
     UINT64 size, WHV_MAP_GPA_RANGE_FLAGS flags);
    HRESULT(WINAPI *create_cpu)
    (WHV_PARTITION_HANDLE p, UINT32 index, UINT32 flags);
    HRESULT(WINAPI *run)
    (WHV_PARTITION_HANDLE p, UINT32 index, void *context, UINT32 size);
    HRESULT(WINAPI *cancel)
    (WHV_PARTITION_HANDLE p, UINT32 index, UINT32 flags);
    HRESULT(WINAPI *get)
    (WHV_PARTITION_HANDLE p, UINT32 index, const WHV_REGISTER_NAME *names,
     UINT32 count, WHV_REGISTER_VALUE *values);
    HRESULT(WINAPI *set)
    (WHV_PARTITION_HANDLE p, UINT32 index, const WHV_REGISTER_NAME *names,
     UINT32 count, const WHV_REGISTER_VALUE *values);

    /* One of these pairs. */
    HRESULT(WINAPI *get_xsave)
    (WHV_PARTITION_HANDLE p, UINT32 index, void *buffer, UINT32 size,
     UINT32 *written);
    HRESULT(WINAPI *set_xsave)
    (WHV_PARTITION_HANDLE p, UINT32 index, const void *buffer, UINT32 size);
    HRESULT(WINAPI *get_state)
    (WHV_PARTITION_HANDLE p, UINT32 index,
     WHV_VIRTUAL_PROCESSOR_STATE_TYPE type, void *buffer, UINT32 size,
     UINT32 *written);
    HRESULT(WINAPI *set_state)
    (WHV_PARTITION_HANDLE p, UINT32 index,
     WHV_VIRTUAL_PROCESSOR_STATE_TYPE type, const void *buffer, UINT32 size);

    HRESULT(WINAPI *query_dirty)
    (WHV_PARTITION_HANDLE p, WHV_GUEST_PHYSICAL_ADDRESS addr, UINT64 size,
     UINT64 *bits, UINT32 bits_size);
};

/* The library's, loaded once for the life of the process, unless tests said
 * otherwise; NULL, and `why` says what is missing.  Any thread. */
const struct hl_whp_calls *hl_whp_calls(char *why);

/* From now on, for machines that are made then; NULL: the library's. */
void hl_whp_use_calls(const struct hl_whp_calls *calls);

/* 0, or -errno for what one of them returned: -ENOMEM, -EACCES, or -EIO. */
int hl_whp_errno(HRESULT result);

#endif
