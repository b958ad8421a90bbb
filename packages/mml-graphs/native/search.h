/* Neighbor search for batches of periodic structures. See search.c. */

#ifndef MML_GRAPHS_SEARCH_H
#define MML_GRAPHS_SEARCH_H

#include <stddef.h>
#include <stdint.h>

/* B structures with M atoms in total, one structure after the other. Lengths are in angstrom. */
typedef struct {
    int64_t num_structures;  /* B */
    const int64_t *starts;   /* [B + 1], index of the first atom of each structure, followed by M */
    const double *positions; /* [M][3], Cartesian */
    const double *cells;     /* [B][3][3], rows are the lattice vectors */
    const uint8_t *pbc;      /* [B][3], periodicity along each lattice vector */
    const double *cutoffs;   /* [B], largest distance of an edge, inclusive */
} Structures;

typedef enum {
    FOUND,
    NO_MEMORY,
    NOT_FINITE,  /* a position or a cell contains NaN or infinity, or a cutoff is not positive and finite */
    NO_VOLUME,   /* the periodic lattice vectors span no volume (area, length) */
    COINCIDENT,  /* atoms `src` and `dst` are `value` apart */
    TOO_DISTANT, /* atom `src` is `value` cells outside the cell, more than float32 can count */
    TOO_MANY     /* there would be about `value` edges */
} Status;

/* The first problem, in structure `structure`. Atoms are counted within the structure. */
typedef struct {
    Status status;
    int64_t structure, src, dst;
    double value;
} Problem;

/* Arrays to fill. All but `src`, `dst` may be NULL. Floats are float32, or float64 if `is_double`. */
typedef struct {
    int64_t *src, *dst;  /* [E], atoms counted through all structures */
    void *images;        /* [E][3], lattice translation of the destination atom */
    void *offsets;       /* [E][3], images @ cell */
    void *unit_offsets;  /* [E][3], the edge in fractional coordinates */
    void *distances;     /* [E] */
    int is_double;
} Output;

/* Memory for one search at a time. Reusing it saves the operating system from providing the same pages again. */
typedef struct Memory Memory;

Memory *new_memory(void);
void free_memory(Memory *memory);
size_t memory_size(const Memory *memory); /* in bytes */

typedef struct Search Search;

/* Find all edges. The arrays of `structures`, and `memory`, have to exist until `free_search`. Returns NULL after a
 * problem. */
Search *search_edges(const Structures *structures, int num_threads, int64_t max_edges, Memory *memory, Problem *problem);

int64_t count_edges(const Search *search);

/* Number of edges of each structure [B], and of each atom [M]. Either may be NULL. */
void write_counts(const Search *search, int64_t *num_edges, int64_t *degrees);

/* Write the edges, sorted by source, then destination, then image. Returns 0 if there is no memory. */
int write_edges(const Search *search, const Output *output, int num_threads);

void free_search(Search *search);

#endif
