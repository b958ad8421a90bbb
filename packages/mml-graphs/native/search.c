/* Neighbor search for batches of periodic structures.
 *
 * An edge connects atom i to an image of atom j. It exists if
 *
 *     d = |r_j + n A - r_i| <= cutoff,
 *
 * where the rows of A are the lattice vectors and the image n is a vector of integers, which is zero along
 * directions that are not periodic. An atom has no edge to itself in image zero. Lengths are in angstrom.
 *
 * 1. Frame. The periodic lattice vectors are replaced by the shortest vectors of the same lattice (Minkowski's
 *    reduction; Nguyen and Stehle, ACM Trans. Algorithms 5, 46 (2009)), the other ones by unit normals. All atoms
 *    are moved into this cell. A skewed cell or atoms far outside the cell therefore cost nothing.
 * 2. Linked cells (Quentrec and Brot, J. Comput. Phys. 13, 430 (1973)). Large structures are divided into bins
 *    that are at least as wide as the cutoff. Small structures are a single bin.
 * 3. Ghosts. For each bin, all images of atoms within reach of the bin's atoms are listed, ordered by atom and
 *    image. An image of atom j with fractional coordinates f_j + n is within reach if it is between
 *    min f - cutoff / h and max f + cutoff / h along each direction, where f are the coordinates of the bin's atoms
 *    and h is the distance between opposite faces of the cell.
 * 4. Distances from each atom of the bin to all ghosts, in float32, whose error is bounded. Pairs so close to the
 *    cutoff that the error could matter are decided by the formula of `edge_length` in float64. Since the ghosts are
 *    ordered, the edges of an atom are found in their final order. In structures of up to a few thousand atoms, only
 *    ghosts of atoms j >= i are considered, and each edge is written in both directions. In larger structures, the
 *    reverse edges would be written to distant places in memory, which takes longer than finding them.
 *
 * In small structures with cells at least twice as wide as the cutoff, the nearest image of each pair takes the place of
 * steps 2 and 3.
 *
 * The edges are first recorded by destination and image (16 bytes each). When their number is known, the caller
 * allocates the arrays, and `write_edges` computes their contents. No result depends on the number of threads.
 */

#include "search.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "threads.h"

#define MARGIN 1e-6       /* pairs this near the cutoff are decided by `edge_length`, also without rounding errors */
#define SAME_PLACE 1e-4   /* atoms that are at most this far apart are an error */
#define FLATTEST 1e-6     /* volume over the product of the three lengths, up to which a cell has no volume */
#define SHORTEST 1e-3     /* shorter vectors are no lattice vectors */
#define TIE 1e-9          /* the reduction ignores vectors that are shorter only due to rounding */
#define FARTHEST 8388608. /* 2^23, number of cells: differences of two images are whole numbers in float32 */
#define ONE_BIN 48        /* structures with fewer atoms are a single bin (measured) */
#define BIN_WIDTH 1.4     /* in units of the cutoff (measured) */
#define NEAREST_IMAGES 256 /* structures with at most this many atoms may be searched pair by pair (measured) */
#define ALL_NEAR 1024     /* in structures with at most this many atoms, all atoms are near each bin (measured) */
#define SHARED 4096       /* structures with at least this many atoms are searched by all threads together */
#define LANES 256         /* distances that are computed at once */

typedef struct {
    int32_t dst, image[3];
} Record;

/* An atom, and its place in the arrays of the workspace. */
typedef struct {
    int32_t atom, row;
} Near;

/* Numbers of one structure that the search needs. Frame: see step 1 above. */
typedef struct {
    int64_t num_atoms;
    const double *positions; /* [N][3], as given */
    double cell[9];          /* as given, completed by unit normals */
    double cutoff, margin;
    int periodic;                  /* number of periodic directions, which are the first ones of the frame */
    int is_changed;                /* whether the frame has other periodic vectors than the cell */
    double frame[9], inverse[9];   /* rows are vectors; columns of `inverse` give fractional coordinates */
    int64_t to_cell[9];            /* periodic vectors of the frame in units of the cell's */
    double reach[3];               /* cutoff / h along each direction of the frame */
    int bins[3];
    int is_sorted; /* whether the rows of the workspace's arrays are in the order of bins, not of atoms */
} Frame;

/* Memory of one thread, reused from structure to structure. */
typedef struct {
    Record *records; /* found by this thread */
    size_t num_records, max_records;

    /* Atoms of a structure. */
    size_t max_atoms;
    double *fractions, *places; /* [N][3] each, inside the frame */
    float *columns;             /* [3][N], fractions in float32 */
    int32_t *shifts;            /* [N][3], images that were subtracted, in units of the cell's vectors */
    int32_t *order, *bin_of;    /* [N], atoms sorted by bin, bin of each atom */
    int64_t *cursors;           /* [N], where the next edge of each atom is written */
    size_t max_bins;
    int32_t *bin_starts; /* [bins + 1] */

    /* Atoms near a bin, and their ghosts. */
    size_t max_near, max_ghosts;
    Near *near, *sorted;
    int32_t *first_ghost;
    float *x, *y, *z;
    Record *ghosts; /* [G], atom and image */
    Problem problem;
} Workspace;

struct Memory {
    Workspace workspaces[MAX_THREADS];
};

struct Search {
    Structures structures;
    int num_threads;
    int64_t max_edges;
    int64_t *first_edges; /* [M + 1], prefix sum of the number of edges of each atom */
    size_t *first_records; /* [M], index of the first record of each atom, among those of its thread */
    int32_t *num_records;  /* [M] */
    int32_t *threads;      /* [M], thread that recorded the edges of each atom */
    Problem *problems;     /* [B] */
    Workspace *workspaces; /* [num_threads], of the caller's memory */
    Counter total;         /* edges found so far */
    int32_t *order;        /* [M], atoms of each large structure in the order of bins, in which their edges are written */
};

/* ---------------------------------------------------------------- vectors */

static double dot(const double *a, const double *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

static void cross(const double *a, const double *b, double *out) {
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

static void unit_normal(const double *a, const double *b, double *out) {
    cross(a, b, out);
    double length = sqrt(dot(out, out));
    for (int c = 0; c < 3; c++) out[c] /= length;
}

/* Round down, and up, for |x| < 2^31. Faster than floor(), which is a function call on older processors. */
static int32_t round_down(double x) {
    int32_t whole = (int32_t)x;
    return whole - ((double)whole > x);
}

static int32_t round_up(double x) {
    int32_t whole = (int32_t)x;
    return whole + ((double)whole < x);
}

/* Invert a matrix by its adjugate: the columns of the inverse are (b x c, c x a, a x b) / a.(b x c). Returns 0 if the
 * rows span no volume. */
static int invert(const double *m, double *inverse) {
    double columns[3][3], lengths = 1.0, shortest = DBL_MAX;
    for (int row = 0; row < 3; row++) {
        cross(m + 3 * ((row + 1) % 3), m + 3 * ((row + 2) % 3), columns[row]);
        double length = sqrt(dot(m + 3 * row, m + 3 * row));
        lengths *= length;
        if (!(length >= shortest)) shortest = length;
    }
    double volume = dot(m, columns[0]);
    if (!(shortest >= SHORTEST) || !(fabs(volume) > FLATTEST * lengths) || !(fabs(volume) < DBL_MAX)) return 0;
    for (int row = 0; row < 3; row++)
        for (int column = 0; column < 3; column++) inverse[3 * row + column] = columns[column][row] / volume;
    return 1;
}

/* Replace the vectors of the directions that are not periodic by unit normals to the periodic ones. */
static void add_normals(double *m, const uint8_t *pbc) {
    int num_periodic = !!pbc[0] + !!pbc[1] + !!pbc[2];
    if (num_periodic == 0) {
        for (int c = 0; c < 9; c++) m[c] = c % 4 == 0;
    } else if (num_periodic == 1) {
        int one = pbc[0] ? 0 : pbc[1] ? 1 : 2;
        double *a = m + 3 * one, *b = m + 3 * ((one + 1) % 3), *c = m + 3 * ((one + 2) % 3);
        int smallest = 0;
        for (int axis = 1; axis < 3; axis++)
            if (fabs(a[axis]) < fabs(a[smallest])) smallest = axis;
        double unit[3] = {0.0, 0.0, 0.0};
        unit[smallest] = 1.0;
        unit_normal(a, unit, b);
        unit_normal(a, b, c);
    } else if (num_periodic == 2) {
        int other = !pbc[0] ? 0 : !pbc[1] ? 1 : 2;
        unit_normal(m + 3 * ((other + 1) % 3), m + 3 * ((other + 2) % 3), m + 3 * other);
    }
}

/* Complete a cell like `mml_graphs.neighbors.lattice.complete_cell`. Returns 0 if it has no volume. */
static int complete_cell(const double *given, const uint8_t *pbc, double *cell, double *inverse) {
    memcpy(cell, given, 9 * sizeof(double));
    if (invert(cell, inverse)) return 1;
    if (pbc[0] && pbc[1] && pbc[2]) return 0;
    add_normals(cell, pbc);
    return invert(cell, inverse);
}

/* The length of an edge, by the formula that decides which pairs are within the cutoff. It is written out component by
 * component, so that an edge and its reverse round to exactly the same length. `offset` is n A. */
static double edge_length(const double *one, const double *two, const double *cell, const int32_t *n, double *offset) {
    double square = 0.0;
    for (int c = 0; c < 3; c++) {
        offset[c] = n[0] * cell[c] + n[1] * cell[3 + c] + n[2] * cell[6 + c];
        double component = two[c] - one[c] + offset[c];
        square += component * component;
    }
    return sqrt(square);
}

/* ---------------------------------------------------------------- 1. frame */

/* Shorten the `count` vectors [count][3] by adding multiples of each other, until no vector can be shortened. `times`
 * receives the new vectors in units of the old ones. Returns 0 if nothing changed. */
static int reduce(double (*vectors)[3], int64_t (*times)[3], int count) {
    int is_changed = 0;
    for (int step = 0; step < 1000; step++) {
        int order[3] = {0, 1, 2};
        double squares[3];
        for (int k = 0; k < count; k++) squares[k] = dot(vectors[k], vectors[k]);
        for (int k = 1; k < count; k++)
            for (int l = k; l > 0 && squares[order[l]] < squares[order[l - 1]]; l--) {
                int other = order[l];
                order[l] = order[l - 1];
                order[l - 1] = other;
            }
        static const int pairs[3][2] = {{1, 0}, {2, 0}, {2, 1}};
        int target = -1;
        double add[3] = {0.0, 0.0, 0.0}; /* multiple of each vector that is added to the target */
        for (int p = 0; p < (count == 3 ? 3 : count - 1) && target < 0; p++) {
            int lengthy = order[pairs[p][0]], brief = order[pairs[p][1]];
            double ratio = dot(vectors[lengthy], vectors[brief]) / squares[brief];
            if (fabs(ratio) > 0.5 + TIE) {
                target = lengthy;
                add[brief] = -nearbyint(ratio);
            }
        }
        for (int signs = 0; signs < 4 && count == 3 && target < 0; signs++) {
            double i = signs & 2 ? -1.0 : 1.0, j = signs & 1 ? -1.0 : 1.0, diagonal[3];
            for (int c = 0; c < 3; c++)
                diagonal[c] = i * vectors[order[0]][c] + j * vectors[order[1]][c] + vectors[order[2]][c];
            if (dot(diagonal, diagonal) < squares[order[2]] * (1.0 - TIE)) {
                target = order[2];
                add[order[0]] = i;
                add[order[1]] = j;
            }
        }
        if (target < 0) break;
        is_changed = 1;
        for (int k = 0; k < count; k++)
            if (k != target)
                for (int c = 0; c < 3; c++) {
                    vectors[target][c] += add[k] * vectors[k][c];
                    if (fabs(add[k]) > FARTHEST || llabs(times[target][c]) > (int64_t)FARTHEST) return -1;
                    times[target][c] += (int64_t)add[k] * times[k][c];
                }
    }
    return is_changed;
}

static Status make_frame(Frame *f, const double *positions, int64_t num_atoms, const double *given, const uint8_t *pbc,
                         double cutoff, double *value) {
    if (!(cutoff > 0.0 && cutoff <= DBL_MAX)) return NOT_FINITE;
    for (int c = 0; c < 9; c++)
        if (!(fabs(given[c]) <= DBL_MAX)) return NOT_FINITE;
    double largest = 0.0;
    for (int64_t c = 0; c < 3 * num_atoms; c++) {
        double size = fabs(positions[c]);
        if (!(size <= DBL_MAX)) return NOT_FINITE;
        if (size > largest) largest = size;
    }
    double unused[9];
    if (!complete_cell(given, pbc, f->cell, unused)) return NO_VOLUME;

    double vectors[3][3];
    int64_t times[3][3] = {{0}};
    int count = 0;
    for (int axis = 0; axis < 3; axis++)
        if (pbc[axis]) {
            memcpy(vectors[count], f->cell + 3 * axis, sizeof vectors[count]);
            times[count][axis] = 1;
            count++;
        }
    f->num_atoms = num_atoms;
    f->is_sorted = 0;
    f->positions = positions;
    f->periodic = count;
    f->is_changed = reduce(vectors, times, count);
    *value = FARTHEST;
    if (f->is_changed < 0) return TOO_DISTANT;
    memset(f->frame, 0, sizeof f->frame);
    memcpy(f->frame, vectors, count * sizeof vectors[0]);
    memcpy(f->to_cell, times, sizeof times);
    const uint8_t first[3] = {count > 0, count > 1, count > 2};
    if (count < 3) add_normals(f->frame, first);
    if (!invert(f->frame, f->inverse)) return NO_VOLUME;

    /* Rounding errors of coordinates, of lattice translations, and of their sums. */
    double sizes = 0.0;
    for (int k = 0; k < count; k++)
        for (int axis = 0; axis < 3; axis++)
            sizes += fabs((double)times[k][axis]) * sqrt(dot(f->cell + 3 * axis, f->cell + 3 * axis));
    f->cutoff = cutoff;
    f->margin = MARGIN + 32.0 * DBL_EPSILON * (largest + cutoff + 2.0 * sizes);

    /* The number of edges, from the volume (area, length) of the lattice. */
    double within = 1.0, images = 1.0, normal[3];
    if (count == 1) within = 2.0 * cutoff / sqrt(dot(f->frame, f->frame));
    if (count == 2) {
        cross(f->frame, f->frame + 3, normal);
        within = 3.141592653589793 * cutoff * cutoff / sqrt(dot(normal, normal));
    }
    if (count == 3) {
        cross(f->frame, f->frame + 3, normal);
        within = 4.18879020478639 * cutoff * cutoff * cutoff / fabs(dot(normal, f->frame + 6));
    }
    *value = (double)num_atoms * (double)num_atoms * within;
    for (int axis = 0; axis < 3; axis++) {
        double h = 1.0 / sqrt(f->inverse[axis] * f->inverse[axis] + f->inverse[3 + axis] * f->inverse[3 + axis] +
                              f->inverse[6 + axis] * f->inverse[6 + axis]);
        f->reach[axis] = (cutoff + 2.0 * f->margin) / h + 1e-12;
        f->bins[axis] = 1;
        if (axis >= count) continue;
        images *= 2.0 * f->reach[axis] + 1.0;
        for (int c = 0; c < 3; c++)
            if (f->is_changed && (f->reach[axis] + 2.0) * fabs((double)times[axis][c]) > FARTHEST / 3.0) {
                *value = FARTHEST;
                return TOO_DISTANT;
            }
    }
    return images < 4e9 && fmax(f->reach[0], fmax(f->reach[1], f->reach[2])) < 1e8 ? FOUND : TOO_MANY;
}

/* ---------------------------------------------------------------- memory */

/* Change the size of the array to which the pointer at `address` points. Returns 0 if there is no memory. */
static int grow(void *address, size_t count, size_t size) {
    void *array;
    memcpy(&array, address, sizeof array); /* the pointer's type differs from call to call */
    array = realloc(array, count > 0 ? count * size : 1);
    if (!array) return 0;
    memcpy(address, &array, sizeof array);
    return 1;
}

static int reserve_atoms(Workspace *w, size_t count) {
    if (count <= w->max_atoms) return 1;
    w->max_atoms = 0;
    if (!(grow(&w->fractions, 3 * count, sizeof(double)) && grow(&w->places, 3 * count, sizeof(double)) &&
          grow(&w->columns, 3 * count, sizeof(float)) &&
          grow(&w->shifts, 3 * count, sizeof(int32_t)) && grow(&w->order, count, sizeof(int32_t)) &&
          grow(&w->bin_of, count, sizeof(int32_t)) && grow(&w->cursors, count, sizeof(int64_t))))
        return 0;
    w->max_atoms = count;
    return 1;
}

static int reserve_near(Workspace *w, size_t count) {
    if (count <= w->max_near) return 1;
    w->max_near = 0;
    count += count / 2;
    if (!(grow(&w->near, count, sizeof(Near)) && grow(&w->sorted, count, sizeof(Near)) &&
          grow(&w->first_ghost, count + 1, sizeof(int32_t))))
        return 0;
    w->max_near = count;
    return 1;
}

static int reserve_ghosts(Workspace *w, size_t count) {
    if (count <= w->max_ghosts) return 1;
    w->max_ghosts = 0;
    count = count + count / 2 + 256;
    if (!(grow(&w->x, count, sizeof(float)) && grow(&w->y, count, sizeof(float)) &&
          grow(&w->z, count, sizeof(float)) && grow(&w->ghosts, count, sizeof(Record))))
        return 0;
    w->max_ghosts = count;
    return 1;
}

static int reserve_records(Workspace *w, size_t more) {
    size_t count = w->num_records + more;
    if (count <= w->max_records) return 1;
    count = count + count / 2 + 256;
    if (!grow(&w->records, count, sizeof(Record))) return 0;
    w->max_records = count;
    return 1;
}

Memory *new_memory(void) { return calloc(1, sizeof(Memory)); }

void free_memory(Memory *memory) {
    if (!memory) return;
    for (int t = 0; t < MAX_THREADS; t++) {
        Workspace *w = memory->workspaces + t;
        void *arrays[] = {w->records, w->fractions, w->places, w->columns, w->shifts, w->order, w->bin_of, w->cursors, w->bin_starts,
                          w->near,    w->sorted,    w->first_ghost, w->x,      w->y,     w->z,      w->ghosts};
        for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++) free(arrays[k]);
    }
    free(memory);
}

size_t memory_size(const Memory *memory) {
    size_t size = sizeof *memory;
    for (int t = 0; t < MAX_THREADS; t++) {
        const Workspace *w = memory->workspaces + t;
        size += w->max_records * sizeof(Record) + w->max_atoms * 88 + w->max_bins * 4 + w->max_near * 20 + w->max_ghosts * 28;
    }
    return size;
}

/* ---------------------------------------------------------------- 2. bins */

/* Move atoms into the frame. The rows of the arrays are in the order of bins if that is known, which keeps the data of
 * near atoms together. */
static Status wrap_atoms(const Frame *f, Workspace *w, int64_t *atom, double *value) {
    for (int64_t i = 0; i < f->num_atoms; i++) {
        const double *r = f->positions + 3 * (f->is_sorted ? (int64_t)w->order[i] : i);
        double *fraction = w->fractions + 3 * i, *place = w->places + 3 * i;
        int64_t shift[3] = {0, 0, 0}, given[3] = {0, 0, 0};
        for (int axis = 0; axis < 3; axis++) {
            double g = r[0] * f->inverse[axis] + r[1] * f->inverse[3 + axis] + r[2] * f->inverse[6 + axis];
            if (axis < f->periodic) {
                if (!(fabs(g) < FARTHEST)) {
                    *atom = i;
                    *value = fabs(g);
                    return TOO_DISTANT;
                }
                shift[axis] = round_down(g);
                g -= (double)shift[axis];
            }
            fraction[axis] = g;
            w->columns[axis * f->num_atoms + i] = (float)g;
        }
        for (int c = 0; c < 3; c++) {
            place[c] = r[c] - ((double)shift[0] * f->frame[c] + (double)shift[1] * f->frame[3 + c] +
                               (double)shift[2] * f->frame[6 + c]);
            for (int k = 0; k < f->periodic; k++) given[c] += shift[k] * f->to_cell[3 * k + c];
            if (llabs(given[c]) > (int64_t)FARTHEST) {
                *atom = i;
                *value = (double)llabs(given[c]);
                return TOO_DISTANT;
            }
            w->shifts[3 * i + c] = (int32_t)given[c];
        }
    }
    return FOUND;
}

/* Choose the bins and sort the atoms by bin. */
static Status fill_bins(Frame *f, Workspace *w) {
    int64_t n = f->num_atoms;
    double first[3] = {0.0, 0.0, 0.0}, width[3], most = 1.0, bins[3];
    for (int axis = 0; axis < 3; axis++) {
        double length = 1.0;
        if (axis >= f->periodic) { /* between the outermost atoms */
            double last = first[axis] = w->fractions[axis];
            for (int64_t i = 1; i < n; i++) {
                double g = w->fractions[3 * i + axis];
                if (g < first[axis]) first[axis] = g;
                if (g > last) last = g;
            }
            length = last - first[axis];
        }
        width[axis] = length;
        double ratio = length / f->reach[axis];
        bins[axis] = n < ONE_BIN ? 1.0 : fmax(1.0, fmin(floor(ratio), floor(ratio / BIN_WIDTH + 0.6)));
        most *= bins[axis];
    }
    while (most > (double)n) { /* in sparse structures, empty bins would outnumber the atoms */
        int widest = bins[0] >= bins[1] ? (bins[0] >= bins[2] ? 0 : 2) : (bins[1] >= bins[2] ? 1 : 2);
        most /= bins[widest];
        bins[widest] = fmax(1.0, floor(bins[widest] * fmax(0.5, (double)n / (most * bins[widest]))));
        most *= bins[widest];
        if (most > (double)n && bins[widest] > 1.0) {
            most /= bins[widest];
            bins[widest] -= 1.0;
            most *= bins[widest];
        }
    }
    size_t num_bins = 1;
    for (int axis = 0; axis < 3; axis++) {
        f->bins[axis] = (int)bins[axis];
        num_bins *= (size_t)f->bins[axis];
    }
    if (num_bins + 1 > w->max_bins) {
        w->max_bins = 0;
        if (!grow(&w->bin_starts, num_bins + 1, sizeof(int32_t))) return NO_MEMORY;
        w->max_bins = num_bins + 1;
    }
    memset(w->bin_starts, 0, (num_bins + 1) * sizeof(int32_t));
    if (num_bins == 1) {
        for (int64_t i = 0; i < n; i++) w->order[i] = (int32_t)i;
        w->bin_starts[1] = (int32_t)n;
        return FOUND;
    }
    for (int64_t i = 0; i < n; i++) {
        int32_t bin = 0;
        for (int axis = 0; axis < 3; axis++) {
            double along = width[axis] > 0.0 ? (w->fractions[3 * i + axis] - first[axis]) / width[axis] : 0.0;
            int32_t b = (int32_t)(along * f->bins[axis]);
            if (b >= f->bins[axis]) b = f->bins[axis] - 1;
            bin = bin * f->bins[axis] + b;
        }
        w->bin_of[i] = bin;
        w->bin_starts[bin + 1]++;
    }
    for (size_t b = 0; b < num_bins; b++) w->bin_starts[b + 1] += w->bin_starts[b];
    for (int64_t i = n - 1; i >= 0; i--) { /* from the end, so that `bin_starts` shrink to the start of each bin */
        int32_t bin = w->bin_of[i];
        w->order[--w->bin_starts[bin + 1]] = (int32_t)i;
    }
    memmove(w->bin_starts, w->bin_starts + 1, num_bins * sizeof(int32_t));
    w->bin_starts[num_bins] = (int32_t)n;
    return FOUND;
}

/* Sort atoms, whose numbers are below `limit`, by the digits of their numbers, the lowest digit first. */
static void sort_atoms(Near *near, Near *other, int32_t count, int64_t limit) {
    int bits = 1;
    while (limit >> bits) bits++;
    int passes = (bits + 7) / 8, width = (bits + passes - 1) / passes;
    for (int pass = 0; pass < passes; pass++) {
        int32_t starts[257] = {0}, mask = (1 << width) - 1;
        for (int32_t k = 0; k < count; k++) starts[((near[k].atom >> (pass * width)) & mask) + 1]++;
        for (int32_t digit = 0; digit < mask; digit++) starts[digit + 1] += starts[digit];
        for (int32_t k = 0; k < count; k++) other[starts[(near[k].atom >> (pass * width)) & mask]++] = near[k];
        Near *swap = near;
        near = other;
        other = swap;
    }
    if (passes % 2) memcpy(other, near, (size_t)count * sizeof(Near)); /* `other` is the given array */
}

/* Collect the atoms of a bin and of the bins around it, each once and in order. */
static int32_t find_near(const Frame *f, const Workspace *shared, Workspace *w, int64_t bin) {
    int64_t center[3] = {bin / ((int64_t)f->bins[1] * f->bins[2]), bin / f->bins[2] % f->bins[1], bin % f->bins[2]};
    int64_t around[3][3];
    int num_around[3];
    for (int axis = 0; axis < 3; axis++) {
        int64_t bins = f->bins[axis];
        num_around[axis] = 0;
        for (int64_t b = center[axis] - 1; b <= center[axis] + 1; b++) {
            int is_outside = b < 0 || b >= bins;
            if (is_outside && (axis >= f->periodic || bins < 3)) continue; /* with two bins, both are listed */
            around[axis][num_around[axis]++] = (b + bins) % bins;
        }
    }
    int32_t count = 0;
    for (int a = 0; a < num_around[0]; a++)
        for (int b = 0; b < num_around[1]; b++)
            for (int c = 0; c < num_around[2]; c++) {
                int64_t other = (around[0][a] * f->bins[1] + around[1][b]) * f->bins[2] + around[2][c];
                int32_t start = shared->bin_starts[other], length = shared->bin_starts[other + 1] - start;
                if (!reserve_near(w, (size_t)count + (size_t)length)) return -1;
                for (int32_t row = start; row < start + length; row++) w->near[count++] = (Near){shared->order[row], row};
            }
    sort_atoms(w->near, w->sorted, count, f->num_atoms);
    return count;
}

/* Keep the near atoms that have an image within reach of the box. In a structure of few atoms, test all atoms. */
static int32_t select_near(const Frame *f, const Workspace *shared, Workspace *w, int64_t bin, const double *low,
                           const double *high) {
    int64_t n = f->num_atoms;
    int is_all = !f->is_sorted;
    if (is_all && !reserve_near(w, (size_t)n)) return -1;
    int32_t count = is_all ? (int32_t)n : find_near(f, shared, w, bin), num_selected = 0;
    float center[3], half[3], period[3];
    for (int axis = 0; axis < 3; axis++) { /* an image of g is in reach if |g - center| or | |g - center| - 1| <= half */
        center[axis] = (float)(0.5 * (low[axis] + high[axis]));
        half[axis] = (float)(0.5 * (high[axis] - low[axis]) + f->reach[axis]) * (1.0f + 1e-6f) +
                     1e-6f * (1.0f + fabsf(center[axis]));
        period[axis] = axis < f->periodic ? 1.0f : FLT_MAX;
    }
    const float *gx = shared->columns, *gy = gx + n, *gz = gy + n;
    for (int32_t start = 0; start < count; start += LANES) {
        int length = count - start < LANES ? count - start : LANES;
        int32_t is_near[LANES];
        float x[LANES], y[LANES], z[LANES];
        const float *xs = gx + start, *ys = gy + start, *zs = gz + start;
        if (!is_all) {
            for (int k = 0; k < length; k++) {
                int32_t row = w->near[start + k].row;
                x[k] = gx[row], y[k] = gy[row], z[k] = gz[row];
            }
            xs = x, ys = y, zs = z;
        }
        for (int k = 0; k < length; k++) {
            float dx = fabsf(xs[k] - center[0]), dy = fabsf(ys[k] - center[1]), dz = fabsf(zs[k] - center[2]);
            is_near[k] = ((dx <= half[0]) | (fabsf(dx - period[0]) <= half[0])) &
                         ((dy <= half[1]) | (fabsf(dy - period[1]) <= half[1])) &
                         ((dz <= half[2]) | (fabsf(dz - period[2]) <= half[2]));
        }
        for (int k = 0; k < length; k++) {
            w->near[num_selected] = is_all ? (Near){start + k, start + k} : w->near[start + k];
            num_selected += is_near[k];
        }
    }
    return num_selected;
}

/* ---------------------------------------------------------------- 3. ghosts */

static int is_before(const int32_t *one, const int32_t *two) {
    for (int axis = 0; axis < 2; axis++)
        if (one[axis] != two[axis]) return one[axis] < two[axis];
    return one[2] < two[2];
}

/* Sort the ghosts of one atom by their images. Only necessary if the frame differs from the cell. This is Shell's sort
 * (Commun. ACM 2, 30 (1959)), which takes little time for few ghosts and is not quadratic for many. */
static void sort_images(Workspace *w, int64_t first, int64_t end) {
    int64_t gap = 1;
    while (gap < (end - first) / 3) gap = 3 * gap + 1;
    for (; gap > 0; gap /= 3)
        for (int64_t k = first + gap; k < end; k++) {
            float x = w->x[k], y = w->y[k], z = w->z[k];
            Record ghost = w->ghosts[k];
            int64_t l = k;
            for (; l - gap >= first && is_before(ghost.image, w->ghosts[l - gap].image); l -= gap) {
                w->x[l] = w->x[l - gap], w->y[l] = w->y[l - gap], w->z[l] = w->z[l - gap];
                w->ghosts[l] = w->ghosts[l - gap];
            }
            w->x[l] = x, w->y[l] = y, w->z[l] = z;
            w->ghosts[l] = ghost;
        }
}

/* List the images of the near atoms within reach of the box, relative to `origin`. Returns their number, -1 if there
 * is no memory, -2 if there are more than `limit`. */
static int64_t make_ghosts(const Frame *f, const Workspace *shared, Workspace *w, int32_t num_near, const double *low,
                           const double *high, const double *origin, int64_t limit) {
    int64_t count = 0;
    double lowest[3], highest[3];
    for (int axis = 0; axis < 3; axis++) {
        lowest[axis] = low[axis] - f->reach[axis];
        highest[axis] = high[axis] + f->reach[axis];
    }
    int is_small = f->reach[0] < 0.5 && f->reach[1] < 0.5 && f->reach[2] < 0.5 && f->periodic == 3;
    int32_t to_cell[9];
    for (int c = 0; c < 9; c++) to_cell[c] = (int32_t)f->to_cell[c];
    for (int32_t k = 0; k < num_near; k++) {
        int32_t j = w->near[k].atom;
        int64_t row = w->near[k].row;
        const double *g = shared->fractions + 3 * row, *r = shared->places + 3 * row;
        const int32_t *shift = shared->shifts + 3 * row;
        int32_t from[3], to[3], number = 1;
        w->first_ghost[k] = (int32_t)count;
        if (is_small) { /* all differences are between -1.5 and 1.5, so that comparisons round, too */
            for (int axis = 0; axis < 3; axis++) {
                double a = lowest[axis] - g[axis], b = highest[axis] - g[axis];
                from[axis] = (a > -1.0) + (a > 0.0) - 1;
                to[axis] = 1 - (b < 1.0) - (b < 0.0);
                number *= to[axis] - from[axis] + 1;
            }
        } else {
            double product = 1.0;
            for (int axis = 0; axis < 3; axis++) {
                double a = lowest[axis] - g[axis], b = highest[axis] - g[axis];
                if (axis >= f->periodic) {
                    from[axis] = 0;
                    to[axis] = a <= 0.0 && b >= 0.0 ? 0 : -1;
                } else {
                    from[axis] = round_up(a);
                    to[axis] = round_down(b);
                }
                product *= (double)to[axis] - (double)from[axis] + 1.0;
            }
            if ((double)count + product > (double)limit) return -2;
            number = (int32_t)product;
        }
        if (!number) continue;
        if (!reserve_ghosts(w, (size_t)count + (size_t)number)) return -1;
        int64_t first = count;
        for (int32_t n0 = from[0]; n0 <= to[0]; n0++)
            for (int32_t n1 = from[1]; n1 <= to[1]; n1++) {
                double base[3];
                int32_t image[3];
                for (int c = 0; c < 3; c++) {
                    base[c] = r[c] - origin[c] + (n0 * f->frame[c] + n1 * f->frame[3 + c]);
                    image[c] = n0 * to_cell[c] + n1 * to_cell[3 + c] - shift[c];
                }
                for (int32_t n2 = from[2]; n2 <= to[2]; n2++) {
                    w->x[count] = (float)(base[0] + n2 * f->frame[6]);
                    w->y[count] = (float)(base[1] + n2 * f->frame[7]);
                    w->z[count] = (float)(base[2] + n2 * f->frame[8]);
                    w->ghosts[count].dst = j;
                    for (int c = 0; c < 3; c++) w->ghosts[count].image[c] = image[c] + n2 * to_cell[6 + c];
                    count++;
                }
            }
        if (f->is_changed) sort_images(w, first, count);
    }
    w->first_ghost[num_near] = (int32_t)count;
    return count;
}

/* ---------------------------------------------------------------- 4. distances */

/* Limits of squared distances in float32: pairs beyond `most` are too far apart. Pairs beyond `least` or below `nearest`
 * are so near a limit that the rounding errors could matter. */
typedef struct {
    float most, least, nearest;
} Limits;

/* `extent` is the largest coordinate. Coordinates and their differences are rounded to a relative error of 2^-24. */
static Limits set_limits(const Frame *f, double extent) {
    double error = 1e-6 * (extent + f->cutoff) + f->margin;
    double outer = f->cutoff + error, inner = fmax(f->cutoff - error, 0.0), closest = SAME_PLACE + error;
    return (Limits){(float)fmin(outer * outer * (1.0 + 1e-6), FLT_MAX), (float)fmin(inner * inner * (1.0 - 1e-6), FLT_MAX),
                    (float)fmin(closest * closest * (1.0 + 1e-6), FLT_MAX)};
}

/* Whether a pair is an edge. Its squared distance is not beyond `most`, or it is not a number due to an overflow. */
static inline int is_edge(const Frame *f, Workspace *w, int32_t i, const Record *found, float square, const Limits *limits) {
    if (square < limits->least && square >= limits->nearest) return 1;
    int32_t j = found->dst;
    if (i == j && !(found->image[0] | found->image[1] | found->image[2])) return 0;
    double offset[3], length = edge_length(f->positions + 3 * (int64_t)i, f->positions + 3 * (int64_t)j, f->cell,
                                           found->image, offset);
    if (!(length <= f->cutoff)) return 0;
    if (length > SAME_PLACE) return 1;
    Problem *p = &w->problem;
    if (p->status != COINCIDENT || i < p->src || (i == p->src && j < p->dst)) *p = (Problem){COINCIDENT, 0, i, j, length};
    return 0;
}

static void finish_atom(Search *s, const Workspace *w, int thread, int64_t atom, size_t first_record) {
    s->first_records[atom] = first_record;
    s->num_records[atom] = (int32_t)(w->num_records - first_record);
    s->threads[atom] = thread;
    s->first_edges[atom + 1] += s->num_records[atom];
}

/* Record the edges of the atoms of one bin. `first_atom` is the structure's first atom within the batch. */
static Status search_bin(Search *s, const Frame *f, const Workspace *shared, Workspace *w, int thread, int64_t bin,
                         int64_t first_atom) {
    int64_t first_row = shared->bin_starts[bin];
    const int32_t *atoms = shared->order + first_row;
    int32_t num_atoms = shared->bin_starts[bin + 1] - shared->bin_starts[bin];
    if (!num_atoms) return FOUND;
    int is_half = f->num_atoms < SHARED;

    double low[3] = {DBL_MAX, DBL_MAX, DBL_MAX}, high[3] = {-DBL_MAX, -DBL_MAX, -DBL_MAX};
    for (int32_t k = 0; k < num_atoms; k++)
        for (int axis = 0; axis < 3; axis++) {
            double g = shared->fractions[3 * (f->is_sorted ? first_row + k : (int64_t)atoms[k]) + axis];
            if (g < low[axis]) low[axis] = g;
            if (g > high[axis]) high[axis] = g;
        }
    double origin[3];
    for (int c = 0; c < 3; c++) {
        origin[c] = 0.0;
        for (int axis = 0; axis < 3; axis++) origin[c] += 0.5 * (low[axis] + high[axis]) * f->frame[3 * axis + c];
    }
    int32_t num_near = select_near(f, shared, w, bin, low, high), first_near = 0;
    if (num_near < 0 || !reserve_near(w, (size_t)num_near + 1)) return NO_MEMORY;
    int64_t limit = s->max_edges < INT32_MAX / 4 ? s->max_edges + f->num_atoms : INT32_MAX / 4;
    int64_t num_ghosts = make_ghosts(f, shared, w, num_near, low, high, origin, limit);
    if (num_ghosts == -1) return NO_MEMORY;
    if (num_ghosts == -2) return TOO_MANY;

    float extent = 0.0f;
    for (int64_t k = 0; k < num_ghosts; k++) {
        float a = fabsf(w->x[k]), b = fabsf(w->y[k]), c = fabsf(w->z[k]);
        a = a > b ? a : b;
        a = a > c ? a : c;
        extent = extent > a ? extent : a;
    }
    Limits limits = set_limits(f, (double)extent);

    int64_t edges = 0, before = add_to(&s->total, 0);
    for (int32_t a = 0; a < num_atoms; a++) {
        int32_t i = atoms[a];
        int64_t row = f->is_sorted ? first_row + a : (int64_t)i;
        const double *r = shared->places + 3 * row;
        const int32_t *shift = shared->shifts + 3 * row;
        float x = (float)(r[0] - origin[0]), y = (float)(r[1] - origin[1]), z = (float)(r[2] - origin[2]);
        size_t first_record = w->num_records;
        while (is_half && w->near[first_near].atom < i) first_near++;
        for (int64_t start = w->first_ghost[first_near]; start < num_ghosts; start += LANES) {
            int count = num_ghosts - start < LANES ? (int)(num_ghosts - start) : LANES, num_hits = 0;
            float squares[LANES];
            int32_t hits[LANES];
            const float *xs = w->x + start, *ys = w->y + start, *zs = w->z + start;
            for (int k = 0; k < count; k++) {
                float dx = xs[k] - x, dy = ys[k] - y, dz = zs[k] - z;
                squares[k] = dx * dx + dy * dy + dz * dz;
            }
            for (int k = 0; k < count; k++) {
                hits[num_hits] = k;
                num_hits += !(squares[k] > limits.most);
            }
            if (!reserve_records(w, (size_t)num_hits)) return NO_MEMORY;
            Record *records = w->records + w->num_records;
            for (int h = 0; h < num_hits; h++) {
                const Record *ghost = w->ghosts + start + hits[h];
                int32_t j = records->dst = ghost->dst;
                for (int c = 0; c < 3; c++) records->image[c] = ghost->image[c] + shift[c];
                if (!is_edge(f, w, i, records, squares[hits[h]], &limits)) continue;
                records++;
                edges++;
                if (is_half && j != i) {
                    s->first_edges[first_atom + j + 1]++;
                    edges++;
                }
            }
            w->num_records = (size_t)(records - w->records);
        }
        finish_atom(s, w, thread, first_atom + i, first_record);
        if (before + edges > s->max_edges) return TOO_MANY;
    }
    return add_to(&s->total, edges) > s->max_edges ? TOO_MANY : FOUND;
}

/* Whether `search_nearest_images` is possible and faster than ghosts: each pair has at most one image within the cutoff,
 * because the cell is at least twice as wide as the cutoff along all periodic directions. */
static int has_nearest_images(const Frame *f) {
    for (int axis = 0; axis < f->periodic; axis++)
        if (f->reach[axis] > 0.499) return 0;
    return f->num_atoms <= NEAREST_IMAGES;
}

/* Record the edges of a structure by examining the nearest image of each pair j > i, without ghosts. Along each
 * periodic direction, its fractional coordinate is between -0.5 and 0.5. */
static Status search_nearest_images(Search *s, const Frame *f, Workspace *w, int thread, int64_t first_atom) {
    int32_t n = (int32_t)f->num_atoms;
    float frame[9], is_periodic[3], extent = 0.0f;
    for (int c = 0; c < 9; c++) frame[c] = (float)f->frame[c];
    for (int axis = 0; axis < 3; axis++) {
        const float *g = w->columns + (int64_t)axis * n;
        float largest = 1.0f;
        for (int32_t j = 0; j < n; j++) largest = fabsf(g[j]) > largest ? fabsf(g[j]) : largest;
        for (int c = 0; c < 3; c++) extent += 2.0f * largest * fabsf(frame[3 * axis + c]);
        is_periodic[axis] = axis < f->periodic;
    }
    Limits limits = set_limits(f, (double)extent);
    int64_t edges = 0, before = add_to(&s->total, 0);
    for (int32_t i = 0; i < n; i++) {
        const int32_t *shift = w->shifts + 3 * (int64_t)i;
        const float *columns = w->columns;
        float gx = columns[i], gy = columns[n + i], gz = columns[2 * n + i];
        size_t first_record = w->num_records;
        for (int32_t start = i + 1; start < n; start += LANES) {
            int count = n - start < LANES ? n - start : LANES, num_hits = 0;
            float squares[LANES], nx[LANES], ny[LANES], nz[LANES];
            int32_t hits[LANES];
            const float *xs = columns + start, *ys = columns + n + start, *zs = columns + 2 * (int64_t)n + start;
            const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves no digits after the decimal point */
            for (int k = 0; k < count; k++) {
                float a = xs[k] - gx, b = ys[k] - gy, c = zs[k] - gz;
                nx[k] = is_periodic[0] * ((a + round) - round);
                ny[k] = is_periodic[1] * ((b + round) - round);
                nz[k] = is_periodic[2] * ((c + round) - round);
                a -= nx[k], b -= ny[k], c -= nz[k];
                float dx = a * frame[0] + b * frame[3] + c * frame[6];
                float dy = a * frame[1] + b * frame[4] + c * frame[7];
                float dz = a * frame[2] + b * frame[5] + c * frame[8];
                squares[k] = dx * dx + dy * dy + dz * dz;
            }
            for (int k = 0; k < count; k++) {
                hits[num_hits] = k;
                num_hits += !(squares[k] > limits.most);
            }
            if (!reserve_records(w, (size_t)num_hits)) return NO_MEMORY;
            Record *records = w->records + w->num_records;
            for (int h = 0; h < num_hits; h++) {
                int k = hits[h];
                int32_t j = records->dst = start + k;
                int32_t image[3] = {f->periodic > 0 ? (int32_t)nx[k] : 0, f->periodic > 1 ? (int32_t)ny[k] : 0,
                                    f->periodic > 2 ? (int32_t)nz[k] : 0}; /* the others may be infinite */
                for (int c = 0; c < 3; c++)
                    records->image[c] = shift[c] - w->shifts[3 * (int64_t)j + c] -
                                        (int32_t)(image[0] * f->to_cell[c] + image[1] * f->to_cell[3 + c] +
                                                  image[2] * f->to_cell[6 + c]);
                if (!is_edge(f, w, i, records, squares[k], &limits)) continue;
                records++;
                edges += 2;
                s->first_edges[first_atom + j + 1]++;
            }
            w->num_records = (size_t)(records - w->records);
        }
        finish_atom(s, w, thread, first_atom + i, first_record);
        if (before + edges > s->max_edges) return TOO_MANY;
    }
    return add_to(&s->total, edges) > s->max_edges ? TOO_MANY : FOUND;
}

/* ---------------------------------------------------------------- the whole search */

/* Record the problem of a structure. */
static void fail(Search *s, int64_t structure, Problem problem) {
    problem.structure = structure;
    if (problem.status == TOO_MANY) problem.value = fmax(problem.value, (double)s->max_edges); /* also if it is NaN */
    s->problems[structure] = problem;
}

/* Steps 1 and 2. Returns 0 after a problem. */
static int prepare(Search *s, Workspace *w, int64_t structure, Frame *f) {
    const Structures *in = &s->structures;
    int64_t start = in->starts[structure], count = in->starts[structure + 1] - start, atom = 0;
    double value = 0.0;
    Status status = make_frame(f, in->positions + 3 * start, count, in->cells + 9 * structure, in->pbc + 3 * structure,
                               in->cutoffs[structure], &value);
    double estimate = value;
    if (status == FOUND) status = reserve_atoms(w, (size_t)count) ? FOUND : NO_MEMORY;
    if (status == FOUND) status = wrap_atoms(f, w, &atom, &value);
    if (status == FOUND) status = fill_bins(f, w);
    if (status == FOUND && count > ALL_NEAR) {
        f->is_sorted = 1;
        status = wrap_atoms(f, w, &atom, &value);
    }
    if (status == FOUND && count >= SHARED) memcpy(s->order + start, w->order, (size_t)count * sizeof *s->order);
    w->problem = (Problem){status, 0, atom, 0, status == TOO_DISTANT ? value : estimate};
    if (status != FOUND) fail(s, structure, w->problem);
    w->problem.value = estimate;
    return status == FOUND;
}

typedef struct {
    Search *search;
    const int64_t *members; /* structures, or NULL */
    const Frame *frame;     /* of the structure that all threads search together, or NULL */
    int64_t structure, chunk;
    const Output *output;
    int is_failed[MAX_THREADS];
} Job;

static int64_t num_bins(const Frame *f) { return (int64_t)f->bins[0] * f->bins[1] * f->bins[2]; }

static void search_structure(void *context, int64_t task, int thread) {
    Job *job = context;
    Search *s = job->search;
    Workspace *w = s->workspaces + thread;
    int64_t structure = job->members ? job->members[task] : task;
    Frame frame;
    if (s->structures.starts[structure] == s->structures.starts[structure + 1]) return;
    if (!prepare(s, w, structure, &frame)) return;
    if (has_nearest_images(&frame)) {
        Status status = search_nearest_images(s, &frame, w, thread, s->structures.starts[structure]);
        if (status != FOUND) w->problem.status = status;
        if (w->problem.status != FOUND) fail(s, structure, w->problem);
        return;
    }
    for (int64_t bin = 0; bin < num_bins(&frame); bin++) {
        Status status = search_bin(s, &frame, w, w, thread, bin, s->structures.starts[structure]);
        if (status != FOUND) {
            w->problem.status = status;
            break;
        }
    }
    if (w->problem.status != FOUND) fail(s, structure, w->problem);
}

static void search_bins(void *context, int64_t task, int thread) {
    Job *job = context;
    Search *s = job->search;
    Workspace *w = s->workspaces + thread;
    int64_t end = (task + 1) * job->chunk;
    if (end > num_bins(job->frame)) end = num_bins(job->frame);
    for (int64_t bin = task * job->chunk; bin < end && !job->is_failed[thread]; bin++) {
        Status status =
            search_bin(s, job->frame, s->workspaces, w, thread, bin, s->structures.starts[job->structure]);
        if (status != FOUND) {
            w->problem.status = status;
            job->is_failed[thread] = 1;
        }
    }
}

/* Search a large structure with all threads. */
static void search_together(Search *s, int64_t structure) {
    Frame frame;
    if (!prepare(s, s->workspaces, structure, &frame)) return;
    Job job = {.search = s, .frame = &frame, .structure = structure};
    job.chunk = num_bins(&frame) / (16 * s->num_threads) + 1;
    for (int t = 1; t < s->num_threads; t++) s->workspaces[t].problem = s->workspaces[0].problem;
    run_parallel(search_bins, &job, (num_bins(&frame) + job.chunk - 1) / job.chunk, s->num_threads);
    Problem first = {FOUND, 0, 0, 0, 0.0};
    for (int t = 0; t < s->num_threads; t++) {
        Problem other = s->workspaces[t].problem;
        if (other.status == FOUND) continue;
        int is_first = first.status == FOUND || other.status > first.status;
        if (other.status == COINCIDENT && first.status == COINCIDENT)
            is_first = other.src < first.src || (other.src == first.src && other.dst < first.dst);
        if (is_first) first = other;
    }
    if (first.status != FOUND) fail(s, structure, first);
}

Search *search_edges(const Structures *structures, int num_threads, int64_t max_edges, Memory *memory, Problem *problem) {
    int64_t num_structures = structures->num_structures, num_atoms = structures->starts[num_structures];
    *problem = (Problem){NO_MEMORY, 0, 0, 0, 0.0};
    Search *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->structures = *structures;
    s->max_edges = max_edges;
    s->num_threads = num_threads < 1 ? 1 : num_threads > MAX_THREADS ? MAX_THREADS : num_threads;
    s->first_edges = calloc((size_t)num_atoms + 1, sizeof *s->first_edges);
    s->first_records = malloc(((size_t)num_atoms + 1) * sizeof *s->first_records);
    s->num_records = calloc((size_t)num_atoms + 1, sizeof *s->num_records);
    s->threads = calloc((size_t)num_atoms + 1, sizeof *s->threads);
    s->problems = calloc((size_t)num_structures + 1, sizeof *s->problems);
    s->order = malloc(((size_t)num_atoms + 1) * sizeof *s->order);
    s->workspaces = memory->workspaces;
    for (int t = 0; t < s->num_threads; t++) s->workspaces[t].num_records = 0;
    int64_t *members = malloc(((size_t)num_structures + 1) * sizeof *members);
    if (!(s->first_edges && s->first_records && s->num_records && s->threads && s->problems && s->order &&
          members)) {
        free(members);
        free_search(s);
        return NULL;
    }
    int64_t num_small = 0;
    for (int64_t k = 0; k < num_structures; k++) {
        int64_t count = structures->starts[k + 1] - structures->starts[k];
        if (s->num_threads > 1 && count >= SHARED)
            search_together(s, k);
        else
            members[num_small++] = k;
    }
    Job job = {.search = s, .members = members};
    run_parallel(search_structure, &job, num_small, s->num_threads);
    free(members);

    *problem = (Problem){FOUND, 0, 0, 0, 0.0};
    for (int64_t k = 0; k < num_structures && problem->status == FOUND; k++) *problem = s->problems[k];
    if (problem->status == FOUND) {
        for (int64_t i = 0; i < num_atoms; i++) s->first_edges[i + 1] += s->first_edges[i];
        return s;
    }
    free_search(s);
    return NULL;
}

int64_t count_edges(const Search *s) { return s->first_edges[s->structures.starts[s->structures.num_structures]]; }

void write_counts(const Search *s, int64_t *num_edges, int64_t *degrees) {
    const int64_t *starts = s->structures.starts, num_structures = s->structures.num_structures;
    if (num_edges)
        for (int64_t k = 0; k < num_structures; k++)
            num_edges[k] = s->first_edges[starts[k + 1]] - s->first_edges[starts[k]];
    if (degrees)
        for (int64_t i = 0; i < starts[num_structures]; i++) degrees[i] = s->first_edges[i + 1] - s->first_edges[i];
}

/* ---------------------------------------------------------------- output */

static void write_vector(void *array, int is_double, int64_t edge, double x, double y, double z) {
    if (is_double) {
        double *row = (double *)array + 3 * edge;
        row[0] = x, row[1] = y, row[2] = z;
    } else {
        float *row = (float *)array + 3 * edge;
        row[0] = (float)x, row[1] = (float)y, row[2] = (float)z;
    }
}

/* Write one edge, or with `sign` -1 its reverse, for which all vectors have the opposite sign. */
static void write_edge(const Output *out, int64_t edge, int64_t src, int64_t dst, double sign, const int32_t *n,
                       const double *offset, const double *unit, double length) {
    out->src[edge] = src;
    out->dst[edge] = dst;
    int is_double = out->is_double;
    /* Adding zero turns -0.0 into 0.0. */
    if (out->images) write_vector(out->images, is_double, edge, sign * n[0] + 0.0, sign * n[1] + 0.0, sign * n[2] + 0.0);
    if (out->offsets)
        write_vector(out->offsets, is_double, edge, sign * offset[0] + 0.0, sign * offset[1] + 0.0,
                     sign * offset[2] + 0.0);
    if (out->unit_offsets)
        write_vector(out->unit_offsets, is_double, edge, sign * unit[0] + 0.0, sign * unit[1] + 0.0,
                     sign * unit[2] + 0.0);
    if (out->distances) {
        if (is_double)
            ((double *)out->distances)[edge] = length;
        else
            ((float *)out->distances)[edge] = (float)length;
    }
}

/* Write the edges of the atoms from `first` to `end` of a structure. */
static void write_atoms(const Search *s, const Output *out, int64_t structure, int64_t first, int64_t end,
                        int64_t *cursors) {
    int64_t start = s->structures.starts[structure];
    const double *positions = s->structures.positions;
    double cell[9], inverse[9];
    complete_cell(s->structures.cells + 9 * structure, s->structures.pbc + 3 * structure, cell, inverse);
    int is_half = s->structures.starts[structure + 1] - start < SHARED;
    if (is_half)
        for (int64_t i = first; i < end; i++) cursors[i - start] = s->first_edges[i];
    for (int64_t row = first; row < end; row++) {
        int64_t i = is_half ? row : start + s->order[row];
        const Record *records = s->workspaces[s->threads[i]].records;
        if (!s->num_records[i]) continue;
        records += s->first_records[i];
        const double *one = positions + 3 * i;
        int64_t edge = is_half ? cursors[i - start] : s->first_edges[i];
        int32_t num_records = s->num_records[i];
        for (int32_t k = 0; k < num_records;) {
            int32_t group = k; /* records of the same destination; the images of their reverses are in reverse order */
            int64_t j = start + records[k].dst, reverse = -1;
            if (is_half && j != i) {
                while (group < num_records && records[group].dst == records[k].dst) group++;
                reverse = cursors[j - start] + (group - k);
                cursors[j - start] = reverse;
            } else {
                group = k + 1;
            }
            const double *two = positions + 3 * j;
            for (; k < group; k++) {
                const int32_t *n = records[k].image;
                double offset[3], unit[3] = {0.0, 0.0, 0.0}, length = edge_length(one, two, cell, n, offset);
                if (out->unit_offsets) /* r_j A^-1 - r_i A^-1 + n */
                    for (int c = 0; c < 3; c++)
                        unit[c] = (two[0] - one[0]) * inverse[c] + (two[1] - one[1]) * inverse[3 + c] +
                                  (two[2] - one[2]) * inverse[6 + c] + n[c];
                write_edge(out, edge++, i, j, 1.0, n, offset, unit, length);
                if (reverse >= 0) write_edge(out, --reverse, j, i, -1.0, n, offset, unit, length);
            }
        }
    }
}

static void write_structure(void *context, int64_t task, int thread) {
    Job *job = context;
    const Search *s = job->search;
    int64_t start = s->structures.starts[task], end = s->structures.starts[task + 1];
    if (s->num_threads > 1 && end - start >= SHARED) return; /* written by `write_chunk` */
    Workspace *w = s->workspaces + thread;
    if (end - start < SHARED && !reserve_atoms(w, (size_t)(end - start))) {
        job->is_failed[thread] = 1;
        return;
    }
    write_atoms(s, job->output, task, start, end, w->cursors);
}

static void write_chunk(void *context, int64_t task, int thread) {
    (void)thread;
    Job *job = context;
    const Search *s = job->search;
    int64_t first = s->structures.starts[job->structure] + task * job->chunk, end = first + job->chunk;
    if (end > s->structures.starts[job->structure + 1]) end = s->structures.starts[job->structure + 1];
    write_atoms(s, job->output, job->structure, first, end, NULL);
}

int write_edges(const Search *search, const Output *output, int num_threads) {
    Job job = {.search = (Search *)search, .output = output, .chunk = 512};
    if (num_threads > search->num_threads) num_threads = search->num_threads;
    run_parallel(write_structure, &job, search->structures.num_structures, num_threads);
    for (int t = 0; t < num_threads; t++)
        if (job.is_failed[t]) return 0;
    for (int64_t k = 0; k < search->structures.num_structures; k++) {
        int64_t count = search->structures.starts[k + 1] - search->structures.starts[k];
        if (search->num_threads > 1 && count >= SHARED) {
            job.structure = k;
            run_parallel(write_chunk, &job, (count + job.chunk - 1) / job.chunk, num_threads);
        }
    }
    return 1;
}

void free_search(Search *s) {
    if (!s) return;
    void *arrays[] = {s->first_edges, s->first_records, s->num_records, s->threads, s->problems, s->order};
    for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++) free(arrays[k]);
    free(s);
}
