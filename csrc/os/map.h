/* Mappings: zero-filled private memory between two guard pages. */
#ifndef HL_OS_MAP_H
#define HL_OS_MAP_H

#include "base.h"
#include "os/memory.h"

enum hl_huge { HL_HUGE_NEVER, HL_HUGE_AUTO, HL_HUGE_ALWAYS };

/* From this size on HL_HUGE_AUTO asks for huge pages: scanning 4 KiB pages
 * then costs more than the rare split of a huge one. */
#define HL_HUGE_AUTO_SIZE ((size_t)64 << 20)

struct hl_map {
    void *addr;      /* the usable bytes */
    size_t size;     /* a multiple of the page size */
    void *base;      /* the whole reservation, guard pages included */
    size_t reserved; /* bytes from base on */
    bool joined;
};

/* Map `size` bytes, rounded up to pages, not populated: memory is used when it
 * is touched.  -ENOMEM: too large for this process or this machine. */
int hl_map_create(struct hl_map *map, size_t size,
                  enum hl_huge huge) HL_MUST_CHECK;
/* The same without huge pages, in one mapping with its guard pages where the
 * kernel can (Linux 6.13), and with equal neighbours: for what there may be
 * thousands of (joined.h).  Mappings do not show where it ends. */
int hl_map_create_joined(struct hl_map *map, size_t size) HL_MUST_CHECK;
void hl_map_destroy(struct hl_map *map);

/* Mappings alive in this process, for leak tests. */
size_t hl_map_count(void);

#endif
