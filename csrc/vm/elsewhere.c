/* Drivers that this system's core does not have: what is listed for them, so
 * that a name means the same everywhere, and the reason is told by those who
 * ask for it.  Nothing of it but create() is ever called. */
#include "vm/driver.h"
#include "why.h"

#define TRACKER(name_) {.name = (name_), .arms = true}

#if !(defined(__x86_64__) && defined(__linux__))
static int only_linux(const struct hl_vm_config *config, struct hl_vm **out,
                      char *why)
{
    (void)config;
    (void)out;
    return hl_why(why, -ENOTSUP, "not compiled in: needs Linux on x86-64");
}

static const struct hl_tracker_ops ring = TRACKER("kvm-ring");
static const struct hl_tracker_ops logged = TRACKER("kvm-log");
static const struct hl_tracker_ops mshv = TRACKER("mshv");
static const struct hl_vm_tracker of_kvm[] = {{&ring, NULL}, {&logged, NULL}};
static const struct hl_vm_tracker of_mshv[] = {{&mshv, NULL}};

const struct hl_driver_ops hl_driver_kvm = {
    .name = "kvm",
    .device = "/dev/kvm",
    .is_boundary = true,
    .is_elsewhere = true,
    .trackers = of_kvm,
    .tracker_count = HL_ARRAY_SIZE(of_kvm),
    .create = only_linux,
};

const struct hl_driver_ops hl_driver_mshv = {
    .name = "mshv",
    .device = "/dev/mshv",
    .is_boundary = true,
    .is_elsewhere = true,
    .pins_memory = true,
    .is_unseen = true,
    .trackers = of_mshv,
    .tracker_count = HL_ARRAY_SIZE(of_mshv),
    .create = only_linux,
};
#endif

#if !(defined(__x86_64__) && defined(_WIN32))
static int only_windows(const struct hl_vm_config *config, struct hl_vm **out,
                        char *why)
{
    (void)config;
    (void)out;
    return hl_why(why, -ENOTSUP, "not compiled in: needs Windows on x86-64");
}

static const struct hl_tracker_ops whp = TRACKER("whp");
static const struct hl_vm_tracker of_whp[] = {{&whp, NULL}};

const struct hl_driver_ops hl_driver_whp = {
    .name = "whp",
    .is_boundary = true,
    .is_elsewhere = true,
    .pins_memory = true,
    .is_unseen = true,
    .trackers = of_whp,
    .tracker_count = HL_ARRAY_SIZE(of_whp),
    .create = only_windows,
};
#endif
