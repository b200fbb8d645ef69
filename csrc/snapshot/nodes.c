#include "snapshot/nodes.h"

#include <stdlib.h>

#include "inject.h"
#include "os/native.h"

/* Chunk k has FIRST_CHUNK << k nodes: the first takes 4 KiB, and all of them
 * together use up the 32 bits of a number.  Doubling, so that a node's chunk
 * follows from the highest bit of its number, and nothing ever moves: readers
 * hold no lock. */
#define FIRST_CHUNK ((size_t)64)

/* Number 0 stands for the empty subtree: counting begins at 1. */
static size_t chunk_of(uint32_t number)
{
    return 63 - (size_t)__builtin_clzll((number - 1) / FIRST_CHUNK + 1);
}

static size_t index_in(uint32_t number, size_t k)
{
    return number - 1 - FIRST_CHUNK * (((size_t)1 << k) - 1);
}

struct hl_node *hl_nodes_get(const struct hl_nodes *nodes, uint32_t number)
{
    size_t k = chunk_of(number);
    return &nodes->chunks[k][index_in(number, k)];
}

uint32_t *hl_nodes_refs(const struct hl_nodes *nodes, uint32_t number)
{
    size_t k = chunk_of(number);
    return &nodes->refs[k][index_in(number, k)];
}

/* Counts are kept apart from the nodes: so a node is one cache line, which a
 * walk reads and nobody writes.  Where the chunk before has fewer nodes than
 * it should, `end` skips the numbers that it lacks. */
static bool add_chunk(struct hl_nodes *nodes, size_t count)
{
    size_t k = nodes->chunk_count;

    if (k == HL_NODE_CHUNKS)
        return false;
    struct hl_node *chunk =
        hl_aligned_new(sizeof(struct hl_node), count * sizeof *chunk);
    uint32_t *refs = malloc(count * sizeof *refs);
    if (chunk == NULL || refs == NULL) {
        hl_aligned_free(chunk);
        free(refs);
        return false;
    }
    nodes->chunks[k] = chunk;
    nodes->refs[k] = refs;
    nodes->chunk_count++;
    nodes->end = FIRST_CHUNK * (((size_t)1 << k) - 1);
    nodes->room = nodes->end + count;
    return true;
}

/* Down to a single node: otherwise a take would fail for want of a chunk as
 * large as all before it, while there is memory for the nodes it needs. */
static bool add_some(struct hl_nodes *nodes)
{
    for (size_t count = FIRST_CHUNK << nodes->chunk_count; count > 0;
         count /= 2)
        if (add_chunk(nodes, count))
            return true;
    return false;
}

uint32_t hl_nodes_alloc(struct hl_nodes *nodes)
{
    uint32_t number = nodes->unused;

    if (HL_INJECT(HL_INJECT_NODE_ALLOC))
        return 0;
    if (number != 0) {
        nodes->unused = hl_nodes_get(nodes, number)->child[0];
    } else {
        if (nodes->end == nodes->room && !add_some(nodes))
            return 0;
        number = (uint32_t)++nodes->end;
    }
    *hl_nodes_refs(nodes, number) = 1;
    nodes->live++;
    return number;
}

/* The list of unused nodes lies in the nodes: releasing needs no memory, and
 * so cannot fail.  What was released last is reused first, from the cache. */
void hl_nodes_release(struct hl_nodes *nodes, uint32_t number)
{
    hl_nodes_get(nodes, number)->child[0] = nodes->unused;
    nodes->unused = number;
    nodes->live--;
}

/* A chunk with a node in use cannot go, since nodes do not move.  A single
 * chunk is kept: a loop of take and drop would allocate it each time. */
void hl_nodes_trim(struct hl_nodes *nodes)
{
    if (nodes->live == 0 && nodes->chunk_count > 1)
        hl_nodes_free(nodes);
}

void hl_nodes_free(struct hl_nodes *nodes)
{
    for (size_t k = 0; k < nodes->chunk_count; k++) {
        hl_aligned_free(nodes->chunks[k]);
        free(nodes->refs[k]);
    }
    *nodes = (struct hl_nodes){0};
}
