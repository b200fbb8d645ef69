# csrc/os, csrc/mem: memory and sets of pages.

cdef extern from "os/map.h" nogil:
    cdef enum hl_huge:
        HL_HUGE_NEVER, HL_HUGE_AUTO, HL_HUGE_ALWAYS
    struct hl_map:
        void *addr
        size_t size
    size_t hl_page_size()
    const char *hl_memory_call
    const char *hl_protect_call
    int hl_map_create(hl_map *map, size_t size, hl_huge huge)
    void hl_map_destroy(hl_map *map)
    size_t hl_map_count()

cdef extern from "os/page.h" nogil:
    bint hl_is_in_memory(const void *addr, size_t size)

cdef extern from "os/vma.h" nogil:
    struct hl_vma:
        int prot
        bint anonymous
    int hl_vma_query(const void *addr, size_t size, hl_vma *vma)

cdef extern from "os/forked.h" nogil:
    unsigned hl_fork_generation()

cdef extern from "mem/bitmap.h" nogil:
    size_t hl_bitmap_words(size_t page_count)
    void hl_bitmap_set(uint64_t *bits, size_t page)
    size_t hl_bitmap_count(const uint64_t *bits, size_t page_count)
    void hl_bitmap_clear_range(uint64_t *bits, size_t first, size_t count)
    cdef enum hl_set_operation:
        HL_UNION, HL_INTERSECTION, HL_SYMMETRIC_DIFFERENCE, HL_DIFFERENCE
    void hl_bitmap_combine(uint64_t *dst, const uint64_t *a,
                           const uint64_t *b, size_t page_count,
                           hl_set_operation operation)

cdef extern from "mem/runs.h" nogil:
    struct hl_run:
        size_t first
        size_t count
    size_t hl_runs_next(const uint64_t *bits, size_t page_count,
                        size_t *cursor, hl_run *runs, size_t cap)

cdef extern from "mem/pages.h" nogil:
    struct hl_pages:
        pass
    int hl_pages_init(hl_pages *set, size_t page_count)
    void hl_pages_free(hl_pages *set)
    void hl_pages_read(const hl_pages *set, uint64_t *bits)
