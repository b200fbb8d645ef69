/* KVM's machine: memory and its log.
 *
 * Raw calls, and nothing of the kvm driver's: a mistake there is not to be
 * repeated here. */
#include "fake/mshv/kvm.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CPUID_ENTRIES 256
/* Intel's processors without unrestricted guest want pages of their own. */
#define TSS_PAGES 0xfffbd000

static int open_kvm(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    return fd >= 0                              ? fd
           : errno == ENOENT || errno == EACCES ? -ENODEV
                                                : -errno;
}

int fake_engine_probe(void)
{
    int fd = open_kvm();
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

static int create(struct fake_machine *m)
{
    int kvm = open_kvm();
    if (kvm < 0)
        return kvm;
    m->vm = ioctl(kvm, KVM_CREATE_VM, 0);
    int err = m->vm < 0 ? -errno : 0;
    m->run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (err == 0)
        (void)ioctl(m->vm, KVM_SET_TSS_ADDR,
                    TSS_PAGES); /* not needed on all */
    close(kvm);
    return err;
}

/* Any signal makes KVM give up; Hyper-V's kernel would go on. */
int fake_machine_create(struct fake_machine **out)
{
    struct fake_machine *m = calloc(1, sizeof *m);
    sigset_t all, before;

    if (m == NULL)
        return -ENOMEM;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = create(m);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err < 0)
        free(m);
    else
        *out = m;
    return err;
}

void fake_machine_destroy(struct fake_machine *m, bool lost)
{
    if (m->has_cpu) {
        munmap(m->cpu.run, (size_t)m->run_size);
        if (!lost)
            close(m->cpu.fd);
    }
    if (!lost)
        close(m->vm);
    for (size_t i = 0; i < FAKE_SLOTS; i++)
        free(m->slots[i].kept);
    free(m);
}

static int put(struct fake_machine *m, uint32_t number,
               const struct fake_slot *slot, bool logged)
{
    struct kvm_userspace_memory_region region = {
        .slot = number,
        .flags = (logged ? KVM_MEM_LOG_DIRTY_PAGES : 0) |
                 (slot->writable ? 0 : KVM_MEM_READONLY),
        .guest_phys_addr = slot->addr,
        .memory_size = slot->size,
        .userspace_addr = slot->host,
    };

    return ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

int fake_machine_set_slot(struct fake_machine *m, uint32_t number,
                          const struct fake_slot *slot, bool logged)
{
    uint64_t *kept = calloc(slot->size / HL_MSHV_PAGE / 64 + 1, 8);
    if (kept == NULL)
        return -ENOMEM;
    int err = put(m, number, slot, logged);
    if (err < 0) {
        free(kept);
        return err;
    }
    free(m->slots[number].kept);
    m->slots[number].slot = *slot;
    m->slots[number].logged = logged;
    m->slots[number].kept = kept;
    return 0;
}

static size_t words(const struct fake_slot *slot)
{
    return (slot->size / HL_MSHV_PAGE + 63) / 64;
}

/* What KVM's log has, which that clears. */
static int keep(struct fake_machine *m, uint32_t number)
{
    const struct fake_slot *slot = &m->slots[number].slot;
    uint64_t *kept = m->slots[number].kept;
    uint64_t *bits = calloc(words(slot), 8);
    struct kvm_dirty_log get = {.slot = number, .dirty_bitmap = bits};

    if (bits == NULL)
        return -ENOMEM;
    int err = ioctl(m->vm, KVM_GET_DIRTY_LOG, &get) < 0 ? -errno : 0;
    for (size_t i = 0; i < words(slot) && err == 0; i++)
        kept[i] |= bits[i];
    free(bits);
    return err;
}

int fake_machine_written(struct fake_machine *m, uint32_t number,
                         uint64_t *bits)
{
    size_t count = words(&m->slots[number].slot);
    int err = keep(m, number);

    if (err < 0)
        return err;
    for (size_t i = 0; i < count; i++)
        bits[i] |= m->slots[number].kept[i];
    memset(m->slots[number].kept, 0, count * 8);
    return 0;
}

/* KVM cannot change this of a slot: it is taken away, and put there again. */
int fake_machine_withhold(struct fake_machine *m, bool withheld)
{
    for (uint32_t i = 0; i < FAKE_SLOTS; i++) {
        struct fake_slot slot = m->slots[i].slot;
        const struct fake_slot none = {.addr = slot.addr, .writable = true};
        bool logged = m->slots[i].logged;

        if (slot.size == 0 || !slot.writable)
            continue;
        int err = logged && withheld ? keep(m, i) : 0;
        if (err == 0)
            err = put(m, i, &none, false);
        slot.writable = !withheld;
        if (err == 0)
            err = put(m, i, &slot, logged && !withheld);
        if (err < 0)
            return err;
    }
    return 0;
}

const void *fake_machine_host(const struct fake_machine *m, uint64_t addr,
                              size_t size)
{
    for (size_t i = 0; i < FAKE_SLOTS; i++) {
        const struct fake_slot *slot = &m->slots[i].slot;
        if (addr - slot->addr < slot->size &&
            size <= slot->size - (addr - slot->addr))
            return (const void *)(uintptr_t)(slot->host + (addr - slot->addr));
    }
    return NULL;
}

/* The processor is what KVM can do, but for what a guest does not need. */
static int set_cpuid(int cpu)
{
    struct kvm_cpuid2 *list =
        calloc(1, sizeof *list + CPUID_ENTRIES * sizeof list->entries[0]);
    if (list == NULL)
        return -ENOMEM;
    list->nent = CPUID_ENTRIES;
    int kvm = open_kvm();
    int err = kvm < 0 ? kvm : 0;
    if (err == 0 && ioctl(kvm, KVM_GET_SUPPORTED_CPUID, list) < 0)
        err = -errno;
    if (kvm >= 0)
        close(kvm);
    for (uint32_t i = 0; i < list->nent && err == 0; i++) {
        struct kvm_cpuid_entry2 *e = &list->entries[i];
        if (e->function == 1)
            e->ecx &= ~(UINT32_C(1) << 5); /* VMX */
        if (e->function == 0x80000001)
            e->ecx &= ~(UINT32_C(1) << 2); /* SVM */
    }
    if (err == 0 && ioctl(cpu, KVM_SET_CPUID2, list) < 0)
        err = -errno;
    free(list);
    return err;
}

int fake_cpu_create(struct fake_machine *m, struct fake_cpu **out)
{
    struct fake_cpu *cpu = &m->cpu;

    if (m->has_cpu)
        return -EEXIST;
    *cpu = (struct fake_cpu){.machine = m};
    cpu->fd = ioctl(m->vm, KVM_CREATE_VCPU, 0);
    if (cpu->fd < 0)
        return -errno;
    int err = set_cpuid(cpu->fd);
    cpu->run = err < 0 ? MAP_FAILED
                       : mmap(NULL, (size_t)m->run_size,
                              PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (cpu->run == MAP_FAILED) {
        err = err < 0 ? err : -errno;
        close(cpu->fd);
        return err;
    }
    m->has_cpu = true;
    *out = cpu;
    return 0;
}
