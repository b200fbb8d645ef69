/* Sentences that say why: whole, cut, and with the limit that was met. */
#include <string.h>

#include "check.h"
#include "why.h"

static void sentences_are_cut_to_their_room(void)
{
    char why[HL_WHY_SIZE + 1], longer[2 * HL_WHY_SIZE];

    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    why[HL_WHY_SIZE] = 'z';
    CHECK(hl_why(why, -EIO, "%s", longer) == -EIO);
    CHECK(strlen(why) == HL_WHY_SIZE - 1);
    CHECK(hl_why_errno(why, -EMFILE, longer) == -EMFILE);
    CHECK(strlen(why) == HL_WHY_SIZE - 1);
    CHECK(why[HL_WHY_SIZE] == 'z');
}

#ifdef _WIN32
/* Nor any that only Linux has. */
static void a_limit_is_named(void)
{
    static const char *const of_linux[] = {"RLIMIT", "ulimit", "max_map",
                                           "fs.", "pids"};
    char why[HL_WHY_SIZE];

    for (int err = 1; err < 140; err++) {
        CHECK(hl_why_errno(why, -err, "VirtualAlloc") == -err);
        CHECK(strstr(why, strerror(err)) != NULL);
        for (size_t i = 0; i < HL_ARRAY_SIZE(of_linux); i++)
            CHECK(strstr(why, of_linux[i]) == NULL &&
                  strstr(hl_strerror(err), of_linux[i]) == NULL);
    }
    CHECK(hl_why_errno(why, -ENOMEM, "VirtualAlloc") == -ENOMEM);
    CHECK(strstr(why, "commit limit") != NULL);
    CHECK(why[strlen(why) - 1] == ')'); /* it fits */
}
#else
static void a_limit_is_named(void)
{
    char why[HL_WHY_SIZE];
    static const struct {
        int err;
        const char *says;
    } limits[] = {
        {-EMFILE, "RLIMIT_NOFILE"}, {-ENFILE, "fs.file-max"},
        {-EAGAIN, "RLIMIT_NPROC"},  {-EAGAIN, "pids.max"},
        {-ENOMEM, "max_map_count"},
    };

    for (size_t i = 0; i < HL_ARRAY_SIZE(limits); i++) {
        int err = hl_why_errno(why, limits[i].err, "KVM_CREATE_VM");
        CHECK(err == limits[i].err);
        CHECK(strncmp(why, "KVM_CREATE_VM: ", 15) == 0);
        CHECK(strstr(why, strerror(-err)) != NULL);
        CHECK(strstr(why, limits[i].says) != NULL);
        CHECK(why[strlen(why) - 1] == ')'); /* it fits */
    }
}

#endif

static void another_error_is_only_said(void)
{
    char why[HL_WHY_SIZE];

    CHECK(hl_why_errno(why, -EIO, "open") == -EIO);
    CHECK(strcmp(why, "open: Input/output error") == 0);
}

int main(void)
{
    RUN(sentences_are_cut_to_their_room);
    RUN(a_limit_is_named);
    RUN(another_error_is_only_said);
    return 0;
}
