#include "vm/emulator/machine.h"

static const int gpr_ids[16] = {35,  38,  40,  37,  44,  36,  43,  39,
                                106, 107, 108, 109, 110, 111, 112, 113};

uint64_t hl_emulator_reg(const struct hl_emulator *e, int id)
{
    uint64_t value = 0;

    (void)e->uc->reg_read(e->engine, id, &value);
    return value;
}

int hl_emulator_gpr(unsigned i) { return gpr_ids[i]; }

void hl_emulator_record(struct hl_emulator *e)
{
    const struct hl_uc_library *uc = e->uc;
    struct hl_emulator_state *s = &e->state;

    for (int i = 0; i < 16; i++)
        e->regs.gpr[i] = hl_emulator_reg(e, gpr_ids[i]);
    e->regs.rip = hl_emulator_reg(e, HL_UC_RIP);
    e->regs.rflags = hl_emulator_reg(e, HL_UC_EFLAGS) & UINT32_MAX;
    for (int i = 0; i < 16; i++)
        (void)uc->reg_read(e->engine, HL_UC_XMM0 + i, s->xmm[i]);
    for (int i = 0; i < 8; i++)
        (void)uc->reg_read(e->engine, HL_UC_FP0 + i, s->fp[i]);
    s->fpcw = (uint16_t)hl_emulator_reg(e, HL_UC_FPCW);
    s->fpsw = (uint16_t)hl_emulator_reg(e, HL_UC_FPSW);
    s->fptag = (uint16_t)hl_emulator_reg(e, HL_UC_FPTAG);
    s->mxcsr = (uint32_t)hl_emulator_reg(e, HL_UC_MXCSR);
    s->ds = (uint16_t)hl_emulator_reg(e, HL_UC_DS);
    s->es = (uint16_t)hl_emulator_reg(e, HL_UC_ES);
    s->fs = (uint16_t)hl_emulator_reg(e, HL_UC_FS);
    s->gs = (uint16_t)hl_emulator_reg(e, HL_UC_GS);
    s->fs_base = hl_emulator_reg(e, HL_UC_FS_BASE);
    s->gs_base = hl_emulator_reg(e, HL_UC_GS_BASE);
    e->loaded = true;
}

int hl_emulator_replay(const struct hl_emulator *e)
{
    const struct hl_uc_library *uc = e->uc;
    const struct hl_emulator_state *s = &e->state;
    int err = 0;

    for (int i = 0; i < 16 && err == 0; i++)
        err = uc->reg_write(e->engine, gpr_ids[i], &e->regs.gpr[i]);

    for (int i = 0; i < 16 && err == 0; i++)
        err = uc->reg_write(e->engine, HL_UC_XMM0 + i, s->xmm[i]);
    const struct {
        int id;
        const void *value;
    } rest[] = {
        {HL_UC_FPCW, &s->fpcw},       {HL_UC_FPSW, &s->fpsw},
        {HL_UC_FPTAG, &s->fptag},     {HL_UC_MXCSR, &s->mxcsr},
        {HL_UC_FS_BASE, &s->fs_base}, {HL_UC_GS_BASE, &s->gs_base},
    };
    for (size_t i = 0; i < HL_ARRAY_SIZE(rest) && err == 0; i++)
        err = uc->reg_write(e->engine, rest[i].id, rest[i].value);
    /* Numbered from the top of the stack, which FPSW says. */
    for (int i = 0; i < 8 && err == 0; i++)
        err = uc->reg_write(e->engine, HL_UC_FP0 + i, s->fp[i]);
    if (err == 0)
        err = uc->reg_write(e->engine, HL_UC_FPTAG, &s->fptag);
    return err;
}

void hl_emulator_replay_selectors(const struct hl_emulator *e)
{
    const struct hl_uc_library *uc = e->uc;
    const struct hl_emulator_state *s = &e->state;

    if ((s->ds | s->es | s->fs | s->gs) == 0)
        return;
    (void)uc->reg_write(e->engine, HL_UC_DS, &s->ds);
    (void)uc->reg_write(e->engine, HL_UC_ES, &s->es);
    (void)uc->reg_write(e->engine, HL_UC_FS, &s->fs);
    (void)uc->reg_write(e->engine, HL_UC_GS, &s->gs);
    /* With those, the bases came from descriptors. */
    (void)uc->reg_write(e->engine, HL_UC_FS_BASE, &s->fs_base);
    (void)uc->reg_write(e->engine, HL_UC_GS_BASE, &s->gs_base);
}
