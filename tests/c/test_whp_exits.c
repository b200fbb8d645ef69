/* The whp driver where the fake of WinHvPlatform.dll lets no guest get to:
 * each kind of port access, registers that no guest can change, and cancels
 * after a run.
 *
 * HYPERLIGHT_UNICORN: where the emulator's library is, which runs guests. */
#include "fake/whp/fake.h"
#include "vm/whp/machine.h"
#include "vm_bed.h"

static WHV_RUN_VP_EXIT_CONTEXT planned;

static HRESULT WINAPI run_as_planned(WHV_PARTITION_HANDLE p, UINT32 index,
                                     void *context, UINT32 size)
{
    (void)p;
    CHECK(index == 0 && size == sizeof planned);
    memcpy(context, &planned, sizeof planned);
    return S_OK;
}

static WHV_RUN_VP_EXIT_CONTEXT write_to_port(void)
{
    WHV_RUN_VP_EXIT_CONTEXT c = {.ExitReason =
                                     WHvRunVpExitReasonX64IoPortAccess};

    c.VpContext.Rip = CODE;
    c.VpContext.InstructionLength = 2;
    c.IoPortAccess.PortNumber = HL_PORT_GUEST;
    c.IoPortAccess.AccessInfo.IsWrite = 1;
    c.IoPortAccess.AccessInfo.AccessSize = 1;
    return c;
}

static struct hl_exit leave(struct bed *bed, WHV_RUN_VP_EXIT_CONTEXT context)
{
    struct hl_exit left;

    planned = context;
    ops->regs(bed->vm)->rip = CODE;
    CHECK(ops->run(bed->vm, &left) == 0);
    return left;
}

/* A call is a byte from AL, and nothing else is. */
static void only_a_byte_is_a_call(void)
{
    struct hl_whp_calls calls = fake_whp_calls;
    WHV_RUN_VP_EXIT_CONTEXT others[6];

    calls.run = run_as_planned;
    hl_whp_use_calls(&calls);
    struct bed bed = boot(count, count_end);
    CHECK(leave(&bed, write_to_port()).reason == HL_EXIT_CALL);
    CHECK(ops->regs(bed.vm)->rip == CODE + 2);
    for (size_t i = 0; i < HL_ARRAY_SIZE(others); i++)
        others[i] = write_to_port();
    others[0].IoPortAccess.AccessInfo.IsWrite = 0;
    others[1].IoPortAccess.AccessInfo.StringOp = 1;
    others[2].IoPortAccess.AccessInfo.RepPrefix = 1;
    others[3].IoPortAccess.AccessInfo.AccessSize = 2;
    others[4].VpContext.InstructionLength = 0;
    others[5].IoPortAccess.PortNumber = HL_PORT_SYSTEM_CALL;
    for (size_t i = 0; i < HL_ARRAY_SIZE(others); i++)
        CHECK(leave(&bed, others[i]).reason == HL_EXIT_UNKNOWN);
    end(&bed);
    hl_whp_use_calls(&fake_whp_calls);
}

/* V3: what a guest might change, and what nobody thinks that it can. */
static void every_register_is_loaded(void)
{
    static const WHV_REGISTER_NAME names[] = {
        WHvX64RegisterDs,           WHvX64RegisterEs,
        WHvX64RegisterFs,           WHvX64RegisterGs,
        WHvX64RegisterSs,           WHvX64RegisterCr2,
        WHvX64RegisterDr0,          WHvX64RegisterDr1,
        WHvX64RegisterDr2,          WHvX64RegisterDr3,
        WHvX64RegisterDr6,          WHvX64RegisterDr7,
        WHvX64RegisterKernelGsBase, WHvX64RegisterPat,
        WHvX64RegisterSysenterCs,   WHvX64RegisterSysenterEip,
        WHvX64RegisterSysenterEsp,  WHvX64RegisterStar,
        WHvX64RegisterLstar,        WHvX64RegisterCstar,
        WHvX64RegisterSfmask,       WHvRegisterPendingInterruption,
        WHvRegisterInterruptState,  WHvRegisterPendingEvent,
    };
    const UINT32 n = HL_ARRAY_SIZE(names);
    WHV_REGISTER_VALUE had[HL_ARRAY_SIZE(names)], got[HL_ARRAY_SIZE(names)];
    struct bed bed = boot(count, count_end);
    const struct hl_whp *m = hl_whp_of(bed.vm);
    void *state = malloc(ops->state_size);

    CHECK(call(&bed) == 1 && ops->save(bed.vm, state) == 0);
    CHECK(m->calls->get(m->partition, 0, names, n, had) == S_OK);
    for (UINT32 i = 0; i < n; i++) {
        WHV_REGISTER_VALUE other = had[i];
        other.Reg128.Low64 ^= 0x10;
        other.Reg128.High64 ^= 0x10;
        CHECK(m->calls->set(m->partition, 0, &names[i], 1, &other) == S_OK);
    }
    CHECK(ops->load(bed.vm, state) == 0);
    CHECK(m->calls->get(m->partition, 0, names, n, got) == S_OK);
    CHECK(memcmp(got, had, sizeof had) == 0);
    CHECK(call(&bed) == 2);
    free(state);
    end(&bed);
}

GUEST(spin, "1: jmp 1b");

static DWORD WINAPI kick(void *vm)
{
    Sleep(5);
    ops->kick(vm);
    return 0;
}

/* What goes on cancelling ends with the run. */
static void nobody_cancels_afterwards(void)
{
    struct bed bed = boot(spin, spin_end);
    struct hl_exit left;

    HANDLE thread = CreateThread(NULL, 0, kick, bed.vm, 0, NULL);
    CHECK(thread != NULL);
    CHECK(ops->run(bed.vm, &left) == 0 && left.reason == HL_EXIT_KICKED);
    CHECK(WaitForSingleObject(thread, INFINITE) == WAIT_OBJECT_0);
    CloseHandle(thread);
    const long cancels = fake_whp_count(FAKE_CALLS + FAKE_CANCEL);
    Sleep(20);
    CHECK(fake_whp_count(FAKE_CALLS + FAKE_CANCEL) == cancels);
    end(&bed);
}

int main(void)
{
    char why[HL_WHY_SIZE] = "";

    hl_emulator_set_library(getenv("HYPERLIGHT_UNICORN"));
    if (hl_driver_try(&hl_driver_emulator, NULL, why) < 0) {
        printf("skipped: %s\n", why);
        return 0;
    }
    ops = &hl_driver_whp;
    hl_whp_use_calls(&fake_whp_calls);
    fake_whp_reset();
    RUN(only_a_byte_is_a_call);
    RUN(every_register_is_loaded);
    RUN(nobody_cancels_afterwards);
    CHECK(fake_whp_count(FAKE_PARTITIONS) == 0);
    CHECK(fake_whp_count(FAKE_VIOLATIONS) == 0);
    return 0;
}
