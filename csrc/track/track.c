#include "track/track.h"

#include <string.h>

const struct hl_tracker_ops *const hl_trackers[] = {
#ifdef _WIN32
    &hl_track_writewatch,
    &hl_track_vectored,
#else
    &hl_track_uffd,    &hl_track_uffd_sigbus,
    &hl_track_sigsegv, &hl_track_softdirty,
#endif
    &hl_track_full,
};
const size_t hl_tracker_count = HL_ARRAY_SIZE(hl_trackers);

const struct hl_tracker_ops *hl_tracker_find(const char *name)
{
    for (size_t i = 0; i < hl_tracker_count; i++)
        if (strcmp(hl_trackers[i]->name, name) == 0)
            return hl_trackers[i];
    return NULL;
}
