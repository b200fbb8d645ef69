/* The table of guest ABIs, and what the native one makes of a stop. */
#include <string.h>

#include "abi/abi.h"
#include "check.h"

static void an_abi_is_found_by_name_or_file(void)
{
    struct hl_image image = {0};

    for (size_t i = 0; i < hl_abi_count; i++) {
        CHECK(hl_abi_find(hl_abis[i]->name, &image) == hl_abis[i]);
        CHECK(hl_abis[i]->start && hl_abis[i]->end && hl_abis[i]->begin);
        CHECK(hl_abis[i]->step && hl_abis[i]->scratch && hl_abis[i]->takes);
    }
    CHECK(hl_abi_find("nobody's", &image) == NULL);
    CHECK(hl_abi_find(NULL, &image) != NULL);
    CHECK(hl_abis[hl_abi_count - 1]->takes(&image)); /* the last takes any */
}

static void every_exit_has_a_meaning(void)
{
    static const struct {
        struct hl_exit exit;
        enum hl_left left;
    } cases[] = {
        {{.reason = HL_EXIT_CALL, .value = 1}, HL_LEFT_READY},
        {{.reason = HL_EXIT_CALL, .value = 4}, HL_LEFT_ABORT},
        {{.reason = HL_EXIT_CALL, .value = 0}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_CALL, .value = 5}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_CALL, .value = UINT64_MAX}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_CALL, .value = UINT64_C(1) << 32 | 1},
         HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_KICKED}, HL_LEFT_KICKED},
        {{.reason = HL_EXIT_TIMEOUT}, HL_LEFT_TIMEOUT},
        {{.reason = HL_EXIT_INTERRUPTED}, HL_LEFT_INTERRUPTED},
        {{.reason = HL_EXIT_EXCEPTION}, HL_LEFT_EXCEPTION},
        {{.reason = HL_EXIT_SHUTDOWN}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_BAD_ACCESS}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_UNKNOWN}, HL_LEFT_BROKEN},
    };

    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++)
        CHECK(hl_abi_native.step(NULL, NULL, &cases[i].exit) == cases[i].left);
}

int main(void)
{
    RUN(an_abi_is_found_by_name_or_file);
    RUN(every_exit_has_a_meaning);
    return 0;
}
