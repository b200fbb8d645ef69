/* Inside of the fake: partitions, and who does what. */
#ifndef HL_TESTS_FAKE_WHP_INSIDE_H
#define HL_TESTS_FAKE_WHP_INSIDE_H

#include <stdatomic.h>

#include "fake/whp/fake.h"
#include "vm/driver.h"
#include "vm/emulator/machine.h"

#define FAKE_REGISTERS 52

/* x87 and vector state, which nobody else understands. */
struct fake_vector {
    uint32_t magic, mxcsr;
    uint16_t fpcw, fpsw, fptag, padding;
    uint64_t xmm[16][2];
    uint8_t fp[8][16];
};
#define FAKE_MAGIC 0x57485021u

struct fake_range {
    uint64_t addr, size;
    char *host;
    bool tracked, asked;
    uint64_t *dirty; /* bits; NULL: not tracked */
    uint64_t *told;  /* what a query reported, and not written since */
};

struct fake_partition {
    SRWLOCK lock; /* held by each call but a cancel */
    UINT32 processors;
    bool set_up, has_cpu;
    struct fake_range ranges[HL_VM_SLOTS];
    size_t range_count;
    WHV_REGISTER_VALUE values[FAKE_REGISTERS];
    struct fake_vector vector;

    /* What runs the guest, with what it was made for. */
    SRWLOCK engine_lock; /* of `engine`, for those who kick it */
    struct hl_vm *engine;
    struct hl_vm_config config;
    uint64_t code_sum;
    atomic_bool cancelled;
};

/* switches.c */
void fake_count(int which, long by);
/* A call begins.  False: it fails with *result, and has done nothing. */
bool fake_begin(enum fake_kind kind, HRESULT *result) HL_MUST_CHECK;
/* Whether the call under way on this thread is to fail in the end. */
bool fake_is_lost(void);
/* It ends; what it returns. */
HRESULT fake_end(HRESULT result);
#define FAKE_BEGIN(kind_)                                                     \
    do {                                                                      \
        HRESULT planned_;                                                     \
        if (!fake_begin(kind_, &planned_))                                    \
            return planned_;                                                  \
    } while (0)

/* partition.c: a live partition, locked; NULL: a violation. */
struct fake_partition *fake_take(WHV_PARTITION_HANDLE handle);
void fake_release(struct fake_partition *p);
/* Host memory of guest memory [addr, +size), within one range; or NULL. */
void *fake_host(const struct fake_partition *p, uint64_t addr, uint64_t size);
bool fake_other_has_memory(const struct fake_partition *p);
HRESULT WINAPI fake_capability(WHV_CAPABILITY_CODE code, void *buffer,
                               UINT32 size, UINT32 *written);
HRESULT WINAPI fake_create(WHV_PARTITION_HANDLE *out);
HRESULT WINAPI fake_delete(WHV_PARTITION_HANDLE handle);
HRESULT WINAPI fake_property(WHV_PARTITION_HANDLE handle,
                             WHV_PARTITION_PROPERTY_CODE code,
                             const void *buffer, UINT32 size);
HRESULT WINAPI fake_setup(WHV_PARTITION_HANDLE handle);
HRESULT WINAPI fake_create_cpu(WHV_PARTITION_HANDLE handle, UINT32 index,
                               UINT32 flags);

/* dirty.c */
HRESULT WINAPI fake_map(WHV_PARTITION_HANDLE handle, void *host,
                        WHV_GUEST_PHYSICAL_ADDRESS addr, UINT64 size,
                        WHV_MAP_GPA_RANGE_FLAGS flags);
HRESULT WINAPI fake_query(WHV_PARTITION_HANDLE handle,
                          WHV_GUEST_PHYSICAL_ADDRESS addr, UINT64 size,
                          UINT64 *bits, UINT32 bits_size);
void fake_unmap_all(struct fake_partition *p);
/* Around a run: forget what the host wrote, note what the guest did. */
void fake_watch(struct fake_partition *p);
void fake_note_writes(struct fake_partition *p);

/* registers.c */
WHV_REGISTER_VALUE *fake_value(struct fake_partition *p,
                               WHV_REGISTER_NAME name);
void fake_registers_reset(struct fake_partition *p);
HRESULT WINAPI fake_get(WHV_PARTITION_HANDLE handle, UINT32 index,
                        const WHV_REGISTER_NAME *names, UINT32 count,
                        WHV_REGISTER_VALUE *values);
HRESULT WINAPI fake_set(WHV_PARTITION_HANDLE handle, UINT32 index,
                        const WHV_REGISTER_NAME *names, UINT32 count,
                        const WHV_REGISTER_VALUE *values);
HRESULT WINAPI fake_get_xsave(WHV_PARTITION_HANDLE handle, UINT32 index,
                              void *buffer, UINT32 size, UINT32 *written);
HRESULT WINAPI fake_set_xsave(WHV_PARTITION_HANDLE handle, UINT32 index,
                              const void *buffer, UINT32 size);

/* tables.c: what the page tables at CR3 say.  False: they are not such as
 * image/x86.h builds, or registers do not point to them. */
bool fake_read_tables(struct fake_partition *p) HL_MUST_CHECK;
/* May a guest do that (an error code of #PF) at addr, as far as they say? */
bool fake_is_allowed(struct fake_partition *p, uint64_t addr, uint64_t error);

/* engine.c.  An emulator on what the partition has now. */
bool fake_engine_ready(struct fake_partition *p) HL_MUST_CHECK;
void fake_engine_end(struct fake_partition *p);
/* Registers into it and back. */
bool fake_engine_load(struct fake_partition *p) HL_MUST_CHECK;
bool fake_engine_save(struct fake_partition *p) HL_MUST_CHECK;

/* run.c */
HRESULT WINAPI fake_run(WHV_PARTITION_HANDLE handle, UINT32 index,
                        void *buffer, UINT32 size);
HRESULT WINAPI fake_cancel(WHV_PARTITION_HANDLE handle, UINT32 index,
                           UINT32 flags);

#endif
