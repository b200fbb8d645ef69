#include "vm/asking.h"

#include <string.h>

#include "inject.h"
#include "os/others.h"

#define COST_ASK 5 /* ns a page */

/* Some hypervisors set bits behind the last page. */
static void add_bits(struct hl_asking *a, struct hl_run piece)
{
    struct hl_run run;

    for (size_t at = 0; hl_run_next(a->bits, piece.count, &at, &run);) {
        run.first += piece.first;
        hl_pages_add_range(&a->found, run);
    }
}

/* piece: pages as the tracker counts them; gpa: of its first. */
static int ask(struct hl_asking *a, struct hl_run piece, uint64_t gpa)
{
    int err = -EAGAIN;

    hl_spend(HL_COST_CALL + piece.count * COST_ASK);

    for (int i = 0; i < HL_ASKING_TRIES && (err == -EAGAIN || err == -EINTR);
         i++) {
        memset(a->bits, 0, sizeof a->bits);
        err = a->ask(a, gpa, piece.count, a->bits);
        if (err == 0 && HL_INJECT(HL_INJECT_COLLECT))
            err = -ENOMEM;
        if (err < 0)
            hl_pages_add_range(&a->found, piece); /* D2 */
    }
    if (err == 0)
        add_bits(a, piece);
    return err;
}

static bool is_all_open(const struct hl_asking *a, struct hl_run piece)
{
    struct hl_run run = {0};
    size_t at = piece.first;

    return hl_pages_run(&a->open, &at, &run) && run.first <= piece.first &&
           run.first + run.count >= piece.first + piece.count;
}

static int ask_slot(struct hl_asking *a, const struct hl_vm_slot *slot)
{
    size_t first =
        (size_t)((char *)slot->host - a->tracker.addr) / HL_ASKING_PAGE;
    size_t count = slot->size / HL_ASKING_PAGE;
    int err = 0;

    for (size_t done = 0; done < count && err == 0; done += HL_ASKING_PIECE) {
        struct hl_run piece = {first + done, count - done};
        if (piece.count > HL_ASKING_PIECE)
            piece.count = HL_ASKING_PIECE;
        if (!is_all_open(a, piece))
            err = ask(a, piece, slot->addr + done * HL_ASKING_PAGE);
    }
    return err;
}

static int ask_all(struct hl_asking *a)
{
    int err = 0;

    for (size_t i = 0; i < a->config->slot_count && err == 0; i++)
        if (a->config->slots[i].logged)
            err = ask_slot(a, &a->config->slots[i]);
    return err;
}

int hl_asking_init(struct hl_asking *a, const struct hl_tracker_ops *ops,
                   const struct hl_vm_config *config, void *memory,
                   size_t page_count)
{
    a->config = config;
    a->tracker = (struct hl_tracker){.ops = ops,
                                     .addr = memory,
                                     .page_count = page_count,
                                     .page_size = HL_ASKING_PAGE};
    int err = hl_pages_init(&a->open, page_count);
    return err < 0 ? err : hl_pages_init(&a->found, page_count);
}

int hl_asking_begin(struct hl_asking *a)
{
    int err = ask_all(a);

    hl_pages_fill(&a->open);
    hl_pages_empty(&a->found);
    return err;
}

void hl_asking_end(struct hl_asking *a)
{
    hl_pages_free(&a->open);
    hl_pages_free(&a->found);
}

int hl_asking_collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct hl_asking *a = (struct hl_asking *)t;

    int err = ask_all(a);
    hl_pages_or(dirty, &a->found);
    hl_pages_or(dirty, &a->open);
    return err;
}

void hl_asking_arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct hl_asking *a = (struct hl_asking *)t;

    if (HL_INJECT(HL_INJECT_ARM))
        return; /* they stay reported */
    hl_pages_andnot(&a->open, pages);
    hl_pages_andnot(&a->found, pages);
}

void hl_asking_leave_unarmed(struct hl_tracker *t,
                             const struct hl_pages *pages)
{
    hl_pages_or(&((struct hl_asking *)t)->open, pages);
}

/* The host's own writes meet no protection. */
void hl_asking_disarm(struct hl_tracker *t, struct hl_run run)
{
    (void)t;
    (void)run;
}
