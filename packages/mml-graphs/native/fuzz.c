/* Search random structures, most of which are extreme or invalid, and check the result.
 *
 *     cc -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -pthread fuzz.c -lm -o fuzz
 *     ./fuzz 1000 7      1,000 batches from the random seed 7
 */

#include "search.c"

#include <stdio.h>

#define MOST_EDGES 200000
#define MOST_STRUCTURES 6
#define MOST_ATOMS 700

static uint64_t state;

/* Steele, Lea and Flood, OOPSLA 2014 (SplitMix64). */
static uint64_t next_bits(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double uniform(void) { return (double)(next_bits() >> 11) * 0x1p-53; }

static int below(int limit) { return (int)(next_bits() % (uint64_t)limit); }

static double any_number(void) {
    static const double special[] = {0.0, -0.0, 1.0, -1.0, NAN, INFINITY, -INFINITY, DBL_MAX, DBL_MIN, 1e-320, 1e18, 1e9, 1e-9};
    switch (below(4)) {
        case 0: return special[below(sizeof special / sizeof *special)];
        case 1: return (uniform() - 0.5) * pow(10.0, 40.0 * (uniform() - 0.5));
        default: return (uniform() - 0.5) * 20.0;
    }
}

static void check(int is_true, const char *law) {
    if (is_true) return;
    fprintf(stderr, "fuzz: %s\n", law);
    abort();
}

static int compare(const int64_t *src, const int64_t *dst, const double *images, int64_t one, int64_t two) {
    if (src[one] != src[two]) return src[one] < src[two];
    if (dst[one] != dst[two]) return dst[one] < dst[two];
    for (int c = 0; c < 3; c++)
        if (images[3 * one + c] != images[3 * two + c]) return images[3 * one + c] < images[3 * two + c];
    return 0;
}

/* Search a batch and return its status. */
static Status run_once(const Structures *in, int num_threads, Memory *memory) {
    Problem problem;
    Search *search = search_edges(in, num_threads, MOST_EDGES, memory, &problem);
    if (!search) {
        check(problem.status != FOUND && problem.status != NO_MEMORY, "a failed search has a reason");
        check(problem.structure >= 0 && problem.structure < in->num_structures, "the problem is in a structure");
        check(problem.status != TOO_MANY || problem.value > 0.0, "the number of edges is estimated");
        return problem.status;
    }
    int64_t edges = count_edges(search), atoms = in->starts[in->num_structures];
    check(edges <= MOST_EDGES, "there are at most as many edges as allowed");
    size_t rows = (size_t)edges + 1;
    int64_t *src = malloc(rows * 8), *dst = malloc(rows * 8), *counts = malloc(8 * ((size_t)in->num_structures + 1));
    int64_t *degrees = malloc(8 * ((size_t)atoms + 1));
    double *images = malloc(rows * 24), *offsets = malloc(rows * 24), *units = malloc(rows * 24), *distances = malloc(rows * 8);
    float *rounded = malloc(rows * 4);
    Output output = {src, dst, images, offsets, units, distances, 1};
    check(write_edges(search, &output, num_threads), "the edges are written");
    write_counts(search, counts, degrees);
    int64_t edge = 0, reversed = 0;
    for (int64_t k = 0; k < in->num_structures; k++)
        for (int64_t end = edge + counts[k]; edge < end; edge++) {
            check(src[edge] >= in->starts[k] && src[edge] < in->starts[k + 1], "sources belong to the structure");
            check(dst[edge] >= in->starts[k] && dst[edge] < in->starts[k + 1], "destinations belong to the structure");
            check(distances[edge] > SAME_PLACE && distances[edge] <= in->cutoffs[k], "lengths are within the cutoff");
            check(edge == 0 || compare(src, dst, images, edge - 1, edge), "edges are sorted");
            double square = 0.0;
            for (int c = 0; c < 3; c++) {
                double part = in->positions[3 * dst[edge] + c] - in->positions[3 * src[edge] + c] + offsets[3 * edge + c];
                square += part * part;
            }
            check(distances[edge] == sqrt(square), "lengths are those of the vectors");
            reversed += src[edge] < dst[edge] ? 1 : src[edge] > dst[edge] ? -1 : 0;
            degrees[src[edge]]--;
        }
    check(edge == edges && reversed == 0, "each edge has a reverse");
    for (int64_t i = 0; i < atoms; i++) check(degrees[i] == 0, "degrees are numbers of edges");
    memset(&output, 0, sizeof output);
    output.src = src, output.dst = dst, output.distances = rounded;
    check(write_edges(search, &output, 1), "the edges are written again");
    for (int64_t e = 0; e < edges; e++) check(rounded[e] == (float)distances[e], "float32 is rounded float64");
    void *arrays[] = {src, dst, counts, degrees, images, offsets, units, distances, rounded};
    for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++) free(arrays[a]);
    free_search(search);
    return FOUND;
}

int main(int argc, char **argv) {
    int batches = argc > 1 ? atoi(argv[1]) : 1000;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    static double positions[MOST_STRUCTURES * MOST_ATOMS * 3 + 3 * SHARED];
    Memory *memory = new_memory();
    int64_t seen[TOO_MANY + 1] = {0};
    for (int batch = 0; batch < batches; batch++) {
        int64_t starts[MOST_STRUCTURES + 1] = {0};
        double cells[MOST_STRUCTURES][9], cutoffs[MOST_STRUCTURES];
        uint8_t pbc[MOST_STRUCTURES][3];
        int count = 1 + below(MOST_STRUCTURES), is_wild = below(3) == 0;
        for (int k = 0; k < count; k++) {
            int most = below(8) ? 8 : MOST_ATOMS, atoms = below(200) == 0 && k == 0 ? SHARED + below(9) : below(most);
            double size = pow(10.0, 3.0 * uniform() - 1.0) * cbrt((double)atoms + 1.0);
            starts[k + 1] = starts[k] + atoms;
            for (int c = 0; c < 3; c++) pbc[k][c] = (uint8_t)(below(3) > 0);
            for (int c = 0; c < 9; c++) cells[k][c] = (uniform() - 0.5) * size;
            for (int row = 0; row < 3; row++) {
                if (below(8) == 0)
                    for (int c = 0; c < 3; c++) cells[k][3 * row + c] += below(2000) * cells[k][3 * ((row + 1) % 3) + c];
                if (below(8) == 0 && !pbc[k][row]) memset(cells[k] + 3 * row, 0, 3 * sizeof(double));
            }
            for (int64_t i = starts[k]; i < starts[k + 1]; i++)
                for (int c = 0; c < 3; c++) positions[3 * i + c] = (uniform() - 0.5) * size * (below(9) ? 1.0 : 50.0);
            cutoffs[k] = size / cbrt((double)atoms + 1.0) * 3.0 * uniform();
            if (is_wild && below(2)) {
                if (below(2) && atoms) positions[3 * starts[k] + below(3 * atoms)] = any_number();
                if (below(2)) cells[k][below(9)] = any_number();
                if (below(2)) cutoffs[k] = any_number();
                if (below(4) == 0 && atoms > 1) memcpy(positions + 3 * starts[k], positions + 3 * starts[k] + 3, 24);
            }
        }
        Structures in = {count, starts, positions, cells[0], pbc[0], cutoffs};
        Status one = run_once(&in, 1, memory), two = run_once(&in, 2 + below(3), memory);
        /* With several threads, the limit may be reached in another structure first. */
        check(one == two || one == TOO_MANY || two == TOO_MANY, "the status does not depend on the threads");
        seen[one]++;
    }
    free_memory(memory);
    static const char *const names[] = {"found", "no memory", "not finite", "no volume", "coincident", "too distant", "too many"};
    for (int s = 0; s <= TOO_MANY; s++) printf("%s: %lld\n", names[s], (long long)seen[s]);
    return 0;
}
