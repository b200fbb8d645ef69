/* Memory that waits to be given back: J1 to J3, by what the kernel says is
 * mapped. */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "os/joined.h"
#include "os/map.h"

#define SIZE ((size_t)64 << 10)
#define MORE (HL_JOINED_MANY + 64)

static char *ranges[MORE];

static bool is_mapped(char *page) { return msync(page, 1, MS_ASYNC) == 0; }

static void reserve(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *at;
        CHECK(hl_joined_reserve(&hl_anonymous, SIZE, &at) == 0);
        ranges[i] = at;
        ranges[i][0] = (char)i;
        ranges[i][SIZE - 1] = 1;
    }
}

static void release(size_t i)
{
    hl_joined_release(ranges[i], SIZE);
    ranges[i] = NULL;
}

static void release_all(size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ranges[i])
            release(i);
    CHECK(hl_joined_waiting() == 0);
}

static void nothing_waits_beside_few(void) /* J1 */
{
    reserve(HL_JOINED_MANY);
    for (size_t i = HL_JOINED_MANY; i-- > 0;) {
        char *at = ranges[i];
        release(i);
        CHECK(hl_joined_waiting() == 0 && !is_mapped(at));
    }
}

static void what_waits_goes_when_few_are_left(void) /* J1 */
{
    char *at[3];

    reserve(HL_JOINED_MANY + 3);
    for (size_t i = 0; i < 3; i++) {
        at[i] = ranges[HL_JOINED_MANY + i];
        release(HL_JOINED_MANY + i);
        CHECK(hl_joined_waiting() == (i + 1) * SIZE && is_mapped(at[i]));
    }
    release(0);
    CHECK(hl_joined_waiting() == 0);
    for (size_t i = 0; i < 3; i++)
        CHECK(!is_mapped(at[i]));
    release_all(HL_JOINED_MANY + 3);
}

/* In any order, and whatever adjoins: all of it is given back in the end, and
 * nothing else is. */
static void only_what_was_released_goes(void)
{
    uint64_t seed = 7;
    char *gone[MORE];

    for (int round = 0; round < 6; round++) {
        reserve(MORE);
        for (size_t i = 0; i < MORE; i++)
            gone[i] = ranges[i];
        for (size_t n = 0; n < 60; n++) {
            size_t i = round == 0   ? n
                       : round == 1 ? 60 - n
                                    : next_random(&seed) % 60;
            if (ranges[i])
                release(i);
            CHECK(hl_joined_waiting() <= HL_JOINED_WAIT);
        }
        (void)hl_joined_flush();
        for (size_t i = 0; i < MORE; i++) {
            if (ranges[i])
                CHECK(ranges[i][0] == (char)i && ranges[i][SIZE - 1] == 1);
            else
                CHECK(!is_mapped(gone[i]) && !is_mapped(gone[i] + SIZE - 1));
        }
        release_all(MORE);
    }
}

static void few_ranges_wait(void) /* J2 */
{
    size_t apart = 0;

    reserve(MORE);
    for (size_t i = 0; i < 2 * HL_JOINED_RANGES; i += 2) {
        CHECK(hl_joined_waiting() == apart * SIZE);
        release(i);
        apart = (apart + 1) % HL_JOINED_RANGES;
    }
    release_all(MORE);
}

static void few_bytes_wait(void) /* J2 */
{
    void *large;

    reserve(MORE);
    CHECK(hl_joined_reserve(&hl_anonymous, HL_JOINED_WAIT + SIZE, &large) ==
          0);
    hl_joined_release(large, HL_JOINED_WAIT + SIZE);
    CHECK(hl_joined_waiting() == 0 && !is_mapped(large));
    release_all(MORE);
}

/* In a child, which may limit itself. */
static void what_waits_makes_room(void) /* J3 */
{
    const struct rlimit none = {0, 0};
    struct rlimit limit;
    int status;

    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct hl_map map;
        void *at;
        reserve(MORE);
        release(0);
        CHECK(hl_joined_waiting() == SIZE);
        CHECK(setrlimit(RLIMIT_AS, &none) == 0);
        if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur != 0) {
            printf("skipped: no limit on address space (user-mode QEMU)\n");
            fflush(stdout);
            _exit(0);
        }
        CHECK(hl_joined_reserve(&hl_anonymous, SIZE, &at) == -ENOMEM);
        CHECK(hl_joined_waiting() == 0);
        release(1);
        CHECK(hl_joined_waiting() == SIZE);
        CHECK(hl_map_create(&map, SIZE, HL_HUGE_NEVER) == -ENOMEM);
        CHECK(hl_joined_waiting() == 0);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void maps_and_guards_go_whole(void)
{
    size_t page = hl_page_size();
    struct hl_map map;

    reserve(MORE);
    CHECK(hl_map_create_joined(&map, 3 * page) == 0);
    char *base = map.base;
    hl_map_destroy(&map);
    CHECK(hl_joined_waiting() == 5 * page);
    CHECK(hl_joined_flush() == 5 * page);
    CHECK(!is_mapped(base) && !is_mapped(base + 4 * page));
    release_all(MORE);
}

/* It counts, and waits with the others. */
static void an_adopted_mapping_is_like_the_others(void)
{
    reserve(HL_JOINED_MANY);
    char *own = mmap(NULL, SIZE, PROT_READ, MAP_SHARED | MAP_ANON, -1, 0);
    CHECK(own != MAP_FAILED);
    hl_joined_adopt();
    hl_joined_release(own, SIZE);
    CHECK(hl_joined_waiting() == SIZE && is_mapped(own));
    release(0);
    CHECK(hl_joined_waiting() == 0 && !is_mapped(own));
    release_all(HL_JOINED_MANY);
}

static void *releases(void *unused)
{
    (void)unused;
    for (int i = 0; i < 300; i++) {
        void *at[3];
        for (size_t k = 0; k < 3; k++) {
            CHECK(hl_joined_reserve(&hl_anonymous, SIZE, &at[k]) == 0);
            *(char *)at[k] = (char)i;
        }
        for (size_t k = 0; k < 3; k++) {
            CHECK(*(char *)at[k] == (char)i);
            hl_joined_release(at[k], SIZE);
        }
    }
    return NULL;
}

static void release_from_threads(size_t beside)
{
    pthread_t threads[3];

    reserve(beside);
    for (size_t i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, releases, NULL) == 0);
    for (size_t i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    release_all(beside);
}

static void threads_may_all_release(void)
{
    release_from_threads(HL_JOINED_MANY + 8);
    release_from_threads(HL_JOINED_MANY - 4); /* now many, now few */
}

int main(void)
{
    RUN(nothing_waits_beside_few);
    RUN(what_waits_goes_when_few_are_left);
    RUN(only_what_was_released_goes);
    RUN(few_ranges_wait);
    RUN(few_bytes_wait);
#if defined(__SANITIZE_THREAD__)
    printf("skipped what_waits_makes_room: ThreadSanitizer needs room too\n");
    (void)what_waits_makes_room;
#else
    RUN(what_waits_makes_room);
#endif
    RUN(an_adopted_mapping_is_like_the_others);
    RUN(maps_and_guards_go_whole);
    RUN(threads_may_all_release);
    return 0;
}
