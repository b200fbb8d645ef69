/* The emulator on a partition's memory and registers. */
#include <stdio.h>
#include <string.h>

#include "fake/whp/inside.h"

static uint64_t value(struct fake_partition *p, WHV_REGISTER_NAME name)
{
    return fake_value(p, name)->Reg64;
}

void fake_engine_end(struct fake_partition *p)
{
    AcquireSRWLockExclusive(&p->engine_lock);
    struct hl_vm *engine = p->engine;
    p->engine = NULL;
    ReleaseSRWLockExclusive(&p->engine_lock);
    if (engine)
        engine->ops->destroy(engine);
}

/* Of all that can be executed: a processor sees at once what was changed. */
static uint64_t sum_code(struct fake_partition *p)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < p->config.region_count; i++) {
        const struct hl_x86_region *r = &p->config.regions[i];
        if ((r->perms & HL_PERM_EXECUTE) == 0)
            continue;
        for (uint64_t at = 0; at < r->size; at += HL_WHP_PAGE) {
            const uint64_t *words = fake_host(p, r->addr + at, HL_WHP_PAGE);
            for (size_t n = 0; n < 512; n++)
                sum = (sum ^ words[n]) * UINT64_C(0x100000001b3);
        }
    }
    return sum;
}

static bool create(struct fake_partition *p)
{
    char why[HL_WHY_SIZE] = "";
    struct hl_vm *engine;

    p->config.slot_count = p->range_count;
    for (size_t i = 0; i < p->range_count; i++)
        p->config.slots[i] = (struct hl_vm_slot){.host = p->ranges[i].host,
                                                 .addr = p->ranges[i].addr,
                                                 .size = p->ranges[i].size};
    p->config.fs_base = 0;
    if (hl_driver_emulator.create(&p->config, &engine, why) < 0) {
        fprintf(stderr, "the fake's engine: %s\n", why);
        return false;
    }
    AcquireSRWLockExclusive(&p->engine_lock);
    p->engine = engine;
    ReleaseSRWLockExclusive(&p->engine_lock);
    p->code_sum = sum_code(p);
    return true;
}

bool fake_engine_ready(struct fake_partition *p)
{
    if (p->engine == NULL)
        return fake_read_tables(p) && create(p);
    uint64_t sum = sum_code(p);
    if (sum != p->code_sum)
        p->engine->ops->code_changed(p->engine);
    p->code_sum = sum;
    return true;
}

bool fake_engine_load(struct fake_partition *p)
{
    const struct fake_vector *v = &p->vector;
    struct hl_emulator_state s = {.mxcsr = v->mxcsr};

    for (int i = 0; i < 16; i++)
        s.regs.gpr[i] = value(p, (WHV_REGISTER_NAME)(WHvX64RegisterRax + i));
    s.regs.rip = value(p, WHvX64RegisterRip);
    s.regs.rflags = value(p, WHvX64RegisterRflags);
    s.fs_base = fake_value(p, WHvX64RegisterFs)->Segment.Base;
    s.gs_base = fake_value(p, WHvX64RegisterGs)->Segment.Base;
    s.ds = fake_value(p, WHvX64RegisterDs)->Segment.Selector;
    s.es = fake_value(p, WHvX64RegisterEs)->Segment.Selector;
    s.fs = fake_value(p, WHvX64RegisterFs)->Segment.Selector;
    s.gs = fake_value(p, WHvX64RegisterGs)->Segment.Selector;
    s.fpcw = v->fpcw;
    s.fpsw = v->fpsw;
    s.fptag = v->fptag;
    memcpy(s.xmm, v->xmm, sizeof s.xmm);
    memcpy(s.fp, v->fp, sizeof s.fp);
    return p->engine->ops->load(p->engine, &s) == 0;
}

static void put_segment(struct fake_partition *p, WHV_REGISTER_NAME name,
                        uint16_t selector, uint64_t base)
{
    fake_value(p, name)->Segment.Selector = selector;
    fake_value(p, name)->Segment.Base = base;
}

bool fake_engine_save(struct fake_partition *p)
{
    struct fake_vector *v = &p->vector;
    struct hl_emulator_state s;

    if (p->engine->ops->save(p->engine, &s) < 0)
        return false;
    for (int i = 0; i < 16; i++)
        fake_value(p, (WHV_REGISTER_NAME)(WHvX64RegisterRax + i))->Reg64 =
            s.regs.gpr[i];
    fake_value(p, WHvX64RegisterRip)->Reg64 = s.regs.rip;
    fake_value(p, WHvX64RegisterRflags)->Reg64 = s.regs.rflags;
    put_segment(p, WHvX64RegisterDs, s.ds, 0);
    put_segment(p, WHvX64RegisterEs, s.es, 0);
    put_segment(p, WHvX64RegisterFs, s.fs, s.fs_base);
    put_segment(p, WHvX64RegisterGs, s.gs, s.gs_base);
    v->mxcsr = s.mxcsr;
    v->fpcw = s.fpcw;
    v->fpsw = s.fpsw;
    v->fptag = s.fptag;
    memcpy(v->xmm, s.xmm, sizeof s.xmm);
    memcpy(v->fp, s.fp, sizeof s.fp);
    return true;
}
