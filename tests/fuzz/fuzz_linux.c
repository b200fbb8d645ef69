/* System calls of a program that wishes its host ill: every number, with
 * arguments at edges and at random, over memory, names and vectors of its
 * making; trusted and baked; files that are there, announced and refused;
 * calls that wait; and states that are put back in between.
 *
 *  - W2: every page that a call changed was told before;
 *  - no byte outside of the program's memory is touched (the sanitizers), nor
 *    of a request that is over;
 *  - the tree, the mappings and the descriptors stay what their headers say.
 *
 * An input is the seed of a round, which begins with a new program. */
#include "fuzz.h"

#include "abi/linux/clock.h"
#include "abi/linux/given.h"
#include "abi/linux/paths.h"
#include "fuzz_linux_checks.h"

#define ROUND 20000 /* calls */
#define LOOK 250    /* calls between two looks at everything */
#define NUMBERS 550
#define TEXTS DATA
#define VECTORS (DATA + 2 * PAGE)
#define TIMES (DATA + 3 * PAGE)

static const char *const names[] = {
    "/",
    "/a",
    "/a/b",
    "a",
    "b/",
    "..",
    ".",
    "/../..",
    "/host",
    "/host/one",
    "/host/link",
    "/host/sub",
    "/host/sub/x",
    "/called",
    "/kept",
    "/fixed/f",
    "/loop",
    "/loop/x",
    "/empty",
    "/empty/a",
    "/nul",
    "/long/a",
    "/up/../up",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/dev/hyperlight",
    "/dev/x",
    "/a/b/../c",
    "//a///b//",
    "/proc/self/fd/0",
    "/fixed",
    "c",
    "/called/",
    "",
};

static struct round {
    struct program *p;
    char *saved;   /* memory, at some time of the round */
    char *request; /* of the exchange under way */
    uint32_t host, one, called;
} r;

static uint64_t calls_made, rounds, waited, asked, restored, served[NUMBERS];

/* What the program writes itself is no concern of W2. */
static void poke(uint64_t addr, const void *bytes, size_t size)
{
    char *to = at(r.p, addr);

    memcpy(to, bytes, size);
    memcpy(r.p->copy + (to - r.p->memory), bytes, size);
}

static uint32_t give(uint32_t folder, const char *name, size_t size,
                     enum hl_tree_kind kind, uint64_t bytes, uint32_t source,
                     bool fixed)
{
    const struct hl_linux_given g = {
        .name = name,
        .name_size = size,
        .kind = kind,
        .mode = 0755,
        .size = bytes,
        .source = source,
        .fixed = fixed,
    };
    uint32_t node = 0;

    int err = hl_linux_give(&r.p->linux_, folder, &g, &node);
    FUZZ_CHECK(err == 0 || err == -EEXIST || err == -ENOSPC);
    return err == 0 ? node : 0;
}

static void give_text(const char *name, enum hl_tree_kind kind,
                      const char *text, size_t size)
{
    uint32_t node = give(HL_TREE_ROOT, name, strlen(name), kind, 0, 0, false);

    FUZZ_CHECK(node &&
               hl_linux_give_bytes(&r.p->linux_, node, text, size) == 0);
}

/* Of each kind some; what is announced is larger than all room. */
static void give_files(void)
{
    static char large[3 * PAGE + 5], far[HL_LINUX_PATH * 2];
    uint32_t fixed;

    memset(large, 'k', sizeof large);
    memset(far, 'x', sizeof far);
    r.host = give(HL_TREE_ROOT, "host", 4, HL_TREE_FOLDER, 0, 1, true);
    r.one = give(HL_TREE_ROOT, "single", 6, HL_TREE_FILE, UINT64_C(1) << 40, 2,
                 fuzz_below(2));
    r.called = give(HL_TREE_ROOT, "called", 6, HL_TREE_FILE, 0, 3, false);
    fixed = give(HL_TREE_ROOT, "fixed", 5, HL_TREE_FOLDER, 0, 0, true);
    (void)give(fixed, "f", 1, HL_TREE_FILE, 0, 0, true);
    give_text("kept", HL_TREE_FILE, large, sizeof large);
    give_text("loop", HL_TREE_LINK, "/loop", 5);
    give_text("empty", HL_TREE_LINK, "", 0);
    give_text("nul", HL_TREE_LINK, "/a\0b", 4);
    give_text("long", HL_TREE_LINK, far, sizeof far);
    give_text("up", HL_TREE_LINK, "../../a", 7);
}

/* G1: the host's part, in its good and its bad days. */
static void answer(void)
{
    static const char bytes[2 * PAGE] = "of the host";
    struct hl_linux *l = &r.p->linux_;
    const struct hl_linux_ask ask = l->ask;
    bool again = ask.source == 3;
    int err = fuzz_below(4) ? 0 : -(int)(1 + fuzz_below(40));

    asked++;
    FUZZ_CHECK(ask.source >= 1 && ask.source <= 5);
    if (err == 0 && (ask.source == 1 || ask.source == 4)) {
        (void)give(ask.node, "one", 3, HL_TREE_FILE, 77 * PAGE, 5, true);
        if (ask.source == 1)
            (void)give(ask.node, "sub", 3, HL_TREE_FOLDER, 0, 4, true);
        uint32_t link = give(ask.node, "link", 4, HL_TREE_LINK, 0, 0, false);
        if (link)
            err = hl_linux_give_bytes(l, link, "../kept", 7);
    } else if (err == 0 && !again) {
        err =
            hl_linux_give_bytes(l, ask.node, bytes, fuzz_below(sizeof bytes));
    } else if (err == 0) {
        err = hl_linux_give_copy(l, ask.node, bytes, fuzz_below(sizeof bytes));
    }
    hl_linux_answer(l, err, again);
}

static uint64_t an_address(void)
{
    const uint64_t ends[] = {
        CODE,   CODE + CODE_PAGES * PAGE,
        DATA,   DATA + DATA_PAGES * PAGE,
        ARENA,  ARENA + ARENA_PAGES * PAGE,
        KERNEL, KERNEL + KERNEL_PAGES * PAGE,
    };

    switch (fuzz_below(8)) {
    case 0:
        return ends[fuzz_below(8)] - fuzz_below(40);
    case 1:
        return fuzz_edge();
    case 2:
        return ARENA + fuzz_below(ARENA_PAGES) * PAGE;
    case 3:
        return ARENA + fuzz_below(ARENA_PAGES * PAGE);
    case 4:
        return VECTORS + fuzz_below(64);
    case 5:
        return TIMES + 16 * fuzz_below(8);
    default:
        return TEXTS + 256 * fuzz_below(8);
    }
}

static uint64_t an_argument(void)
{
    switch (fuzz_below(8)) {
    case 0:
        return fuzz_edge();
    case 1:
        return fuzz_below(16) - (fuzz_below(16) == 0 ? 8 : 0);
    case 2:
        return fuzz_below(300);
    case 3:
        return UINT64_C(1) << fuzz_below(64);
    case 4:
        return fuzz_below(20) * PAGE;
    case 5:
        return HL_LINUX_HERE;
    default:
        return an_address();
    }
}

/* Names, vectors, times, and noise. */
static void write_memory(void)
{
    uint64_t words[8];
    char text[256];

    for (size_t i = 0; i < 8; i++) {
        const char *name = names[fuzz_below(HL_ARRAY_SIZE(names))];
        snprintf(text, sizeof text, "%s%s", name,
                 fuzz_below(6) ? "" : "/../a/b");
        poke(TEXTS + 256 * i, text, strlen(text) + 1);
    }
    for (uint64_t i = 0; i < 64; i++) {
        const uint64_t piece[2] = {
            an_address(), fuzz_below(5) ? fuzz_below(9000) : fuzz_edge()};
        poke(VECTORS + 16 * i, piece, sizeof piece);
    }
    for (size_t i = 0; i < 8; i++)
        words[i] = fuzz_below(3) ? fuzz_below(1 << 30) : fuzz_edge();
    poke(TIMES + 64 * fuzz_below(4), words, sizeof words);
    for (size_t i = 0; i < 8; i++)
        words[i] = fuzz_below(2) ? fuzz_next() : an_argument();
    poke(DATA + (4 + fuzz_below(4)) * PAGE + 64 * fuzz_below(64), words,
         sizeof words);
    if (fuzz_below(8) == 0)
        poke(ARENA + fuzz_below(ARENA_PAGES) * PAGE, words, sizeof words);
}

/* What a call means is tried more often than what it refuses. */
static void set_arguments(uint64_t number, uint64_t args[6])
{
    for (size_t i = 0; i < 6; i++)
        args[i] = an_argument();
    if (fuzz_below(3) == 0)
        return;
    switch (number) {
    case 9: /* mmap: its flags */
        args[1] = fuzz_below(12) * PAGE - fuzz_below(2);
        args[2] = fuzz_below(8);
        args[3] = (1 + fuzz_below(3)) | (fuzz_below(2) ? 0x20 : 0) |
                  (fuzz_below(3) ? 0 : 0x10) | (fuzz_below(6) ? 0 : 0x100000);
        args[4] = fuzz_below(8);
        args[5] = fuzz_below(6) * PAGE;
        break;
    case 25:
        args[0] = ARENA + fuzz_below(ARENA_PAGES) * PAGE;
        args[1] = fuzz_below(9) * PAGE;
        args[2] = fuzz_below(12) * PAGE;
        args[3] = fuzz_below(4);
        break;
    case 10:
    case 11:
    case 28:
        args[0] = ARENA + fuzz_below(ARENA_PAGES) * PAGE;
        args[1] = fuzz_below(12) * PAGE;
        args[2] = fuzz_below(9);
        break;
    case 12:
        args[0] = ARENA + fuzz_below(40 * PAGE);
        break;
    case 2:
        args[0] = TEXTS + 256 * fuzz_below(8);
        args[1] = fuzz_below(4) | (fuzz_next() & 0247700);
        break;
    case 257:
        args[1] = TEXTS + 256 * fuzz_below(8);
        args[2] = fuzz_below(4) | (fuzz_next() & 0247700);
        break;
    case 0:
    case 1:
    case 17:
    case 18:
        args[2] = fuzz_below(3 * PAGE);
        args[3] = fuzz_below(60 * PAGE);
        break;
    case 20:
    case 295:
    case 296:
        args[1] = VECTORS;
        args[2] = fuzz_below(64);
        args[3] = fuzz_below(60 * PAGE);
        break;
    case 77:
        args[1] = fuzz_below(45 * PAGE);
        break;
    default:
        break;
    }
}

static void save(void) { memcpy(r.saved, r.p->memory, PAGES * PAGE); }

/* As a restore does it: all memory, and what follows it. */
static void put_back(void)
{
    check_told(r.p);
    memcpy(r.p->memory, r.saved, PAGES * PAGE);
    memcpy(r.p->copy, r.saved, PAGES * PAGE);
    r.p->linux_.head.ops->restored(&r.p->linux_.head);
    restored++;
}

/* The one exchange is over, and with it its request. */
static void next_exchange(void)
{
    struct hl_linux *l = &r.p->linux_;
    size_t size = fuzz_below(3) ? fuzz_below(64) : fuzz_below(3 * PAGE);

    free(r.request);
    if (!l->process->waits && fuzz_below(4) == 0)
        save();
    else if (fuzz_below(3) == 0)
        put_back();
    r.request = malloc(size + 1);
    memset(r.request, 'r', size);
    hl_linux_drop_output(l);
    hl_linux_freeze_time(l, fuzz_below(2) ? 0 : fuzz_next() >> 2);
    hl_linux_request(l, r.request, size);
    l->head.ops->begin(&l->head, &r.p->regs);
}

/* Whatever a waiting call waits for comes to pass, or the state before it. */
static void let_it_go_on(void)
{
    struct hl_linux *l = &r.p->linux_;
    struct hl_linux_process *k = l->process;

    int asks = 0;

    for (int i = 0; k->waits && i < 50; i++) {
        waited++;
        FUZZ_CHECK(asks < 20); /* what was refused is not asked for again */
        asks += l->ask.node != 0;
        if (l->ask.node)
            answer();
        else if (l->listens)
            next_exchange();
        else if (k->wake_at == HL_LINUX_NEVER || fuzz_below(4) == 0)
            put_back();
        else
            k->wake_at = 0;
        asks = k->waits ? asks : 0;
        l->listens = false;
        if (k->waits)
            hl_linux_serve(l);
    }
    if (k->waits)
        put_back();
}

static void one_call(void)
{
    struct hl_linux *l = &r.p->linux_;
    uint64_t number = fuzz_below(4)    ? fuzz_below(NUMBERS)
                      : fuzz_below(10) ? fuzz_below(120)
                                       : fuzz_edge();
    uint64_t args[6];

    if (fuzz_below(6) == 0)
        number = (const uint64_t[]){
            0, 1, 2, 9, 12, 25, 77, 82, 257, 20}[fuzz_below(10)];
    set_arguments(number, args);
    r.p->regs.gpr[HL_RSP] = fuzz_below(3) ? an_address() : TIMES;
    int64_t result = make_call(r.p, number, args);
    calls_made++;
    if (number < NUMBERS)
        served[number] += result != -ENOSYS;
    let_it_go_on();
    if ((l->end != HL_LINUX_RUNS || l->limit != HL_LINUX_NO_LIMIT) &&
        fuzz_below(4) == 0)
        put_back();
    l->end = HL_LINUX_RUNS;
    l->limit = HL_LINUX_NO_LIMIT;
    if (l->answered || fuzz_below(200) == 0) {
        l->answered = false;
        next_exchange();
    }
}

static void play(uint64_t seed)
{
    fuzz_input(&seed, sizeof seed);
    fuzz.state = seed;
    r.p = begin();
    r.request = NULL;
    r.saved = malloc(PAGES * PAGE);
    r.p->linux_.process->baked = fuzz_below(3) != 0;
    give_files();
    save();
    for (int i = 0; i < ROUND; i++) {
        if (fuzz_below(4) == 0)
            write_memory();
        one_call();
        if (i % LOOK == 0) {
            check_everything(r.p);
            fuzz_input(&seed, sizeof seed); /* it goes on */
        }
    }
    check_everything(r.p);
    free(r.request);
    free(r.saved);
    end(r.p);
    rounds++;
}

static uint64_t numbers_served(void)
{
    uint64_t count = 0;

    for (size_t i = 0; i < NUMBERS; i++)
        count += served[i] > 0;
    return count;
}

int main(int argc, char **argv)
{
    fuzz_begin(argc, argv);
    if (fuzz.replay) {
        size_t size = 0;
        uint64_t seed = 0;
        unsigned char *file = fuzz_read_file(fuzz.replay, &size);
        FUZZ_CHECK(file && size == sizeof seed);
        memcpy(&seed, file, sizeof seed);
        free(file);
        play(seed);
    }
    for (uint64_t i = 0; !fuzz.replay && fuzz_time_left(); i++)
        play(fuzz.seed * UINT64_C(1000003) + i);
    printf("linux: seed %llu, %llu rounds, %llu calls (%llu numbers served), "
           "%llu waited, %llu asked, %llu states put back\n",
           (unsigned long long)fuzz.seed, (unsigned long long)rounds,
           (unsigned long long)calls_made,
           (unsigned long long)numbers_served(), (unsigned long long)waited,
           (unsigned long long)asked, (unsigned long long)restored);
    return 0;
}
