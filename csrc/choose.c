#include "choose.h"

#include <errno.h>
#include <string.h>

#include "os/memory.h"

/* From this size on, a walk of the page tables costs more than the handler's
 * microseconds for each written page. */
#define MUCH ((size_t)64 << 20)

struct list {
    struct hl_candidate *into;
    const char *name;
    size_t count;
};

static void add(struct list *list, const struct hl_tracker_ops *ops,
                const struct hl_vm_tracker *vm)
{
    bool wanted = list->name == NULL || strcmp(list->name, ops->name) == 0;

    if (wanted && list->count < HL_CANDIDATES)
        list->into[list->count++] = (struct hl_candidate){ops, vm};
}

/* Told of each write, at no price that depends on what else is mapped. */
static bool is_told(const struct hl_tracker_ops *ops)
{
    return ops->uses_signal && !ops->splits_mappings;
}

static bool prefers_told(const struct hl_wish *wish)
{
    return wish->driver && wish->driver->host_sees_writes &&
           wish->page_count >= MUCH / hl_page_size();
}

static bool is_seen(const struct hl_driver_ops *driver,
                    const struct hl_tracker_ops *ops)
{
    return driver == NULL || driver->host_sees_writes || !ops->arms;
}

size_t hl_candidates(const struct hl_wish *wish,
                     struct hl_candidate into[HL_CANDIDATES])
{
    const struct hl_driver_ops *driver = wish->driver;
    struct list list = {into, wish->name, 0};
    bool told = prefers_told(wish);

    for (size_t i = 0; driver && i < driver->tracker_count; i++)
        add(&list, driver->trackers[i].ops, &driver->trackers[i]);
    for (size_t i = 0; told && i < hl_tracker_count; i++)
        if (is_told(hl_trackers[i]))
            add(&list, hl_trackers[i], NULL);
    for (size_t i = 0; i < hl_tracker_count; i++)
        if (is_seen(driver, hl_trackers[i]) &&
            !(told && is_told(hl_trackers[i])))
            add(&list, hl_trackers[i], NULL);
    return list.count;
}

int hl_refusal(int err)
{
    switch (-err) {
    case 0:
    case ENOMEM: /* out of memory */
    case EMFILE: /* out of descriptors */
    case ENFILE:
    case EEXIST: /* tracked already */
    case E2BIG:  /* too much of it */
    case EFAULT: /* not mapped */
        return err;
    default:
        return HL_REFUSED;
    }
}

static enum hl_because because(const struct hl_wish *wish,
                               const struct hl_choice *choice)
{
    if (wish->name)
        return HL_ASKED_FOR;
    if (prefers_told(wish) && is_told(choice->chosen.ops))
        return HL_TOLD;
    return choice->passed_count ? HL_NEXT_CHOICE : HL_FIRST_CHOICE;
}

int hl_choose(const struct hl_wish *wish, hl_try *try, void *context,
              struct hl_choice *choice, char *why)
{
    struct hl_candidate candidates[HL_CANDIDATES];
    size_t count = hl_candidates(wish, candidates);
    int err;

    choice->chosen = (struct hl_candidate){NULL, NULL};
    choice->passed_count = 0;
    if (count == 0)
        return hl_why(why, -ENOENT,
                      "there is no usable tracker of that name here");
    for (size_t i = 0; i < count; i++) {
        choice->chosen = candidates[i];
        err = try(context, candidates[i], why);
        if (err == 0)
            choice->because = because(wish, choice);
        if (err <= 0)
            return err;
        size_t n = choice->passed_count++;
        choice->passed[n].name = candidates[i].ops->name;
        memcpy(choice->passed[n].why, why, HL_WHY_SIZE);
    }
    choice->chosen = (struct hl_candidate){NULL, NULL};
    return -EOPNOTSUPP;
}
