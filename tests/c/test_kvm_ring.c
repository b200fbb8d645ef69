/* The dirty ring against a model of the kernel's side of it: random guests,
 * restores, and failures. */
#include "ring_bed.h"

#define SEQUENCES 500

/* The guest's pages, of both slots. */
static uint32_t first, spread;

static void burst(void)
{
    static const uint32_t most[] = {4, 500, 1100, 2500, 9000};
    bool interpreted = below(3) > 0, walks = below(2);
    uint32_t count = below(most[below(5)]), page = below(spread);

    if (!interpreted && count > spread)
        count = spread;
    for (; count; count--) {
        if (walks || below(64) == 0)
            page = walks ? (page + 1) % spread : below(spread);
        write_to(first + page, interpreted);
    }
}

static void run(struct hl_kvm *k)
{
    if (below(4) == 0) /* completes an instruction: nobody looks */
        burst();
    for (uint32_t bursts = below(6); bursts; bursts--) {
        look(k);
        burst();
    }
}

static void arm(struct hl_tracker *t, const struct hl_pages *dirty,
                struct hl_pages *pages, bool fails)
{
    uint32_t kind = below(4);

    hl_pages_empty(pages);
    for (size_t page = 0; page < PAGES; page++)
        if (kind == 0 || (kind == 1 && hl_pages_has(dirty, page)) ||
            (kind == 2 && below(2)))
            hl_pages_add(pages, page);
    kernel.fails_in = fails && below(4) == 0 ? 1 + (int)below(4) : 0;
    t->ops->arm(t, pages);
    CHECK(memory[0] == 'm' && memory[11] == 'm'); /* and not the time */
    kernel.fails_in = 0;
    for (size_t page = 0; page < PAGES; page++)
        if (hl_pages_has(pages, page))
            written[page] = false;
}

static void sequence(bool signals, bool fails, bool refuses)
{
    struct bed bed;
    uint32_t size = 1024u << below(2);
    uint32_t adds = below(3) ? 3 : below(5);

    open_bed(&bed, size, below(2) ? KEPT_BACK : 64, adds);
    first = below(2) ? 0 : 300;
    spread = first ? 300 : PAGES;
    kernel.signals = signals;
    kernel.refuses = refuses;
    for (uint32_t turns = 5 + below(40); turns; turns--) {
        run(&bed.k);
        all_is_reported(bed.t, &bed.dirty);
        if (below(5))
            arm(bed.t, &bed.dirty, &bed.pages, fails);
    }
    close_bed(&bed);
}

static void many(bool signals, bool fails, bool refuses)
{
    int all_guesses = 0, all_exact = 0;

    for (uint64_t seed = 1; seed <= SEQUENCES; seed++) {
        state = seed * UINT64_C(0x9e3779b97f4a7c15);
        guesses = exact = 0;
        sequence(signals, fails, refuses);
        all_guesses += guesses;
        all_exact += exact;
    }
    CHECK(all_guesses > SEQUENCES && all_exact > SEQUENCES);
}

static void no_write_is_lost(void) { many(false, false, false); }
static void nor_where_signals_come(void) { many(true, false, false); }
static void nor_where_slots_cannot_be_changed(void)
{
    many(false, true, false);
}
static void nor_where_the_kernel_refuses(void) { many(true, true, true); }

int main(void)
{
    map_memory();
    RUN(no_write_is_lost);
    RUN(nor_where_signals_come);
    RUN(nor_where_slots_cannot_be_changed);
    RUN(nor_where_the_kernel_refuses);
    return 0;
}
