#include <string.h>

#include "fake/whp/inside.h"

static const WHV_REGISTER_NAME names[FAKE_REGISTERS] = {
    WHvX64RegisterRax,          WHvX64RegisterRcx,
    WHvX64RegisterRdx,          WHvX64RegisterRbx,
    WHvX64RegisterRsp,          WHvX64RegisterRbp,
    WHvX64RegisterRsi,          WHvX64RegisterRdi,
    WHvX64RegisterR8,           WHvX64RegisterR9,
    WHvX64RegisterR10,          WHvX64RegisterR11,
    WHvX64RegisterR12,          WHvX64RegisterR13,
    WHvX64RegisterR14,          WHvX64RegisterR15,
    WHvX64RegisterRip,          WHvX64RegisterRflags,
    WHvX64RegisterEs,           WHvX64RegisterCs,
    WHvX64RegisterSs,           WHvX64RegisterDs,
    WHvX64RegisterFs,           WHvX64RegisterGs,
    WHvX64RegisterLdtr,         WHvX64RegisterTr,
    WHvX64RegisterIdtr,         WHvX64RegisterGdtr,
    WHvX64RegisterCr0,          WHvX64RegisterCr2,
    WHvX64RegisterCr3,          WHvX64RegisterCr4,
    WHvX64RegisterDr0,          WHvX64RegisterDr1,
    WHvX64RegisterDr2,          WHvX64RegisterDr3,
    WHvX64RegisterDr6,          WHvX64RegisterDr7,
    WHvX64RegisterXCr0,         WHvX64RegisterEfer,
    WHvX64RegisterKernelGsBase, WHvX64RegisterPat,
    WHvX64RegisterSysenterCs,   WHvX64RegisterSysenterEip,
    WHvX64RegisterSysenterEsp,  WHvX64RegisterStar,
    WHvX64RegisterLstar,        WHvX64RegisterCstar,
    WHvX64RegisterSfmask,       WHvRegisterPendingInterruption,
    WHvRegisterInterruptState,  WHvRegisterPendingEvent,
};

WHV_REGISTER_VALUE *fake_value(struct fake_partition *p,
                               WHV_REGISTER_NAME name)
{
    for (size_t i = 0; i < FAKE_REGISTERS; i++)
        if (names[i] == name)
            return &p->values[i];
    return NULL;
}

void fake_registers_reset(struct fake_partition *p)
{
    fake_value(p, WHvX64RegisterRflags)->Reg64 = 2;
    fake_value(p, WHvX64RegisterXCr0)->Reg64 = 1;
    p->vector = (struct fake_vector){
        .magic = FAKE_MAGIC, .mxcsr = 0x1f80, .fpcw = 0x37f, .fptag = 0xffff};
}

static struct fake_partition *take_cpu(WHV_PARTITION_HANDLE handle,
                                       UINT32 index)
{
    struct fake_partition *p = fake_take(handle);

    if (p == NULL || (p->has_cpu && index == 0))
        return p;
    fake_count(FAKE_VIOLATIONS, 1);
    fake_release(p);
    return NULL;
}

HRESULT WINAPI fake_get(WHV_PARTITION_HANDLE handle, UINT32 index,
                        const WHV_REGISTER_NAME *wanted, UINT32 count,
                        WHV_REGISTER_VALUE *values)
{
    HRESULT result = S_OK;

    FAKE_BEGIN(FAKE_GET);
    struct fake_partition *p = take_cpu(handle, index);
    if (p == NULL)
        return E_INVALIDARG;
    for (UINT32 i = 0; i < count && SUCCEEDED(result); i++) {
        const WHV_REGISTER_VALUE *value = fake_value(p, wanted[i]);
        if (value == NULL)
            result = HL_WHV_E_INVALID_VP_REGISTER_NAME;
        else if (!fake_is_lost())
            values[i] = *value;
    }
    fake_release(p);
    return fake_end(result);
}

/* Of those that the hypervisor looks at when they are set. */
static HRESULT check(WHV_REGISTER_NAME name, WHV_REGISTER_VALUE value)
{
    const uint64_t most = fake_whp_switched(FAKE_NO_AVX) ? 3 : HL_X86_XCR0;

    if (name == WHvX64RegisterXCr0 &&
        ((value.Reg64 & 1) == 0 || (value.Reg64 & ~most) != 0))
        return E_INVALIDARG;
    if (name == WHvX64RegisterCr4 && (value.Reg64 >> 23) != 0)
        return E_INVALIDARG;
    return S_OK;
}

HRESULT WINAPI fake_set(WHV_PARTITION_HANDLE handle, UINT32 index,
                        const WHV_REGISTER_NAME *wanted, UINT32 count,
                        const WHV_REGISTER_VALUE *values)
{
    HRESULT result = S_OK;

    FAKE_BEGIN(FAKE_SET);
    struct fake_partition *p = take_cpu(handle, index);
    if (p == NULL)
        return E_INVALIDARG;
    for (UINT32 i = 0; i < count && SUCCEEDED(result); i++) {
        WHV_REGISTER_VALUE *value = fake_value(p, wanted[i]);
        result = value ? check(wanted[i], values[i])
                       : HL_WHV_E_INVALID_VP_REGISTER_NAME;
        if (SUCCEEDED(result))
            *value = values[i];
    }
    fake_release(p);
    return fake_end(result);
}

HRESULT WINAPI fake_get_xsave(WHV_PARTITION_HANDLE handle, UINT32 index,
                              void *buffer, UINT32 size, UINT32 *written)
{
    FAKE_BEGIN(FAKE_GET_XSAVE);
    struct fake_partition *p = take_cpu(handle, index);
    if (p == NULL)
        return E_INVALIDARG;
    *written = sizeof p->vector;
    if (size >= sizeof p->vector && !fake_is_lost())
        memcpy(buffer, &p->vector, sizeof p->vector);
    fake_release(p);
    return fake_end(size >= sizeof p->vector ? S_OK
                                             : HL_WHV_E_INSUFFICIENT_BUFFER);
}

HRESULT WINAPI fake_set_xsave(WHV_PARTITION_HANDLE handle, UINT32 index,
                              const void *buffer, UINT32 size)
{
    struct fake_vector vector = {0};

    FAKE_BEGIN(FAKE_SET_XSAVE);
    struct fake_partition *p = take_cpu(handle, index);
    if (p == NULL)
        return E_INVALIDARG;
    if (size == sizeof vector)
        memcpy(&vector, buffer, size);
    if (vector.magic == FAKE_MAGIC)
        p->vector = vector;
    else
        fake_count(FAKE_VIOLATIONS, 1);
    fake_release(p);
    return fake_end(vector.magic == FAKE_MAGIC ? S_OK : E_INVALIDARG);
}
