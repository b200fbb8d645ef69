/* What is true of a program's state whatever calls it made. */
#ifndef HL_TESTS_FUZZ_LINUX_CHECKS_H
#define HL_TESTS_FUZZ_LINUX_CHECKS_H

#include "linux_files_bed.h"

/* Ascending, in whole pages of the arena, and never joined apart. */
static void check_mappings(const struct hl_linux_process *k)
{
    uint64_t last = hl_linux_page_up(k->brk);

    CHECK(k->mapping_count <= HL_LINUX_MAPPINGS);
    CHECK(k->brk >= ARENA && k->brk <= ARENA + ARENA_PAGES * PAGE);
    for (size_t i = 0; i < k->mapping_count; i++) {
        const struct hl_linux_mapping *m = &k->mappings[i];
        CHECK(m->start % PAGE == 0 && m->end % PAGE == 0);
        CHECK(m->start >= last && m->start < m->end);
        CHECK(m->end <= ARENA + ARENA_PAGES * PAGE);
        last = m->end;
    }
}

/* Each description is had by as many descriptors as it says, and each node by
 * as many descriptions, queues, and the working folder. */
static void check_descriptors(const struct program *p)
{
    const struct hl_linux_process *k = p->linux_.process;
    static uint32_t opens[HL_TREE_NODES];
    uint32_t refs[HL_LINUX_FILES] = {0};

    memset(opens, 0, sizeof opens);
    opens[k->folder]++;
    for (size_t i = 0; i < HL_LINUX_FILES; i++) {
        CHECK(k->descriptors[i].open <= HL_LINUX_FILES);
        if (k->descriptors[i].open)
            refs[k->descriptors[i].open - 1]++;
    }
    for (size_t i = 0; i < HL_LINUX_FILES; i++) {
        const struct hl_linux_open *o = &k->open[i];
        CHECK(o->refs == refs[i] && (o->kind != HL_LINUX_CLOSED) == !!refs[i]);
        if (o->kind == HL_LINUX_FILE)
            opens[o->node]++;
    }
    for (size_t i = 0; i < HL_ARRAY_SIZE(k->queues); i++)
        opens[k->queues[i].node]++; /* 0: of none */
    for (size_t i = 1; i < HL_TREE_NODES; i++)
        CHECK(p->linux_.files.tree->nodes[i].opens == opens[i]);
}

/* A rest of a request that nobody has, a signal that nobody sends. */
static void check_process(const struct program *p)
{
    const struct hl_linux *l = &p->linux_;
    const struct hl_linux_process *k = l->process;

    CHECK(k->talk != HL_LINUX_ASKED || k->request_at <= l->request_size);
    CHECK(!(k->mask & (UINT64_C(1) << 8 | UINT64_C(1) << 18)));
    CHECK(l->written <= l->output_limit && l->answer.size <= l->output_limit);
    CHECK(k->folder && l->files.tree->nodes[k->folder].kind == HL_TREE_FOLDER);
}

static void check_everything(struct program *p)
{
    check_told(p);
    check_tree(p);
    check_mappings(p->linux_.process);
    check_descriptors(p);
    check_process(p);
}

#endif
