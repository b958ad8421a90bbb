/* Python module `mml_graphs.neighbors._native`: passes buffers to search.c. Limited API of Python 3.11. */

#define _DEFAULT_SOURCE /* for madvise */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "search.h"

enum { POSITIONS, STARTS, CELLS, PBC, CUTOFFS, NUM_INPUTS };

/* Memory is kept for later calls, up to these numbers of bytes: for the search, and for returned arrays. The C library
 * would return it to the operating system, and providing new pages takes longer than finding the edges. */
#define KEPT_FOR_SEARCH ((size_t)64 << 20)
#define KEPT_FOR_ARRAYS ((size_t)128 << 20)
#define SMALLEST_KEPT ((size_t)64 << 10) /* the C library keeps smaller blocks itself */
#define MOST_KEPT 8                      /* blocks */
#define ALIGNMENT 64
#define LARGE_PAGES ((size_t)4 << 20)

static Memory *kept_memory;

typedef struct {
    void *data;
    size_t size;
} Kept;

static Kept kept[MOST_KEPT];
static int num_kept;
static size_t size_kept;

/* Memory of returned arrays, which own a reference to it. */
typedef struct {
    PyObject_HEAD
    char *data;
    size_t size, length; /* allocated and used bytes */
} Block;

static void block_dealloc(PyObject *self) {
    Block *block = (Block *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (block->size >= SMALLEST_KEPT && block->size <= KEPT_FOR_ARRAYS / 2) {
        while (num_kept == MOST_KEPT || size_kept + block->size > KEPT_FOR_ARRAYS) { /* free the oldest block */
            free(kept[0].data);
            size_kept -= kept[0].size;
            num_kept--;
            for (int k = 0; k < num_kept; k++) kept[k] = kept[k + 1];
        }
        kept[num_kept++] = (Kept){block->data, block->size};
        size_kept += block->size;
    } else {
        free(block->data);
    }
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static int block_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    Block *block = (Block *)self;
    char *data = block->data + (ALIGNMENT - (uintptr_t)block->data % ALIGNMENT) % ALIGNMENT;
    return PyBuffer_FillInfo(view, self, data, (Py_ssize_t)block->length, 0, flags);
}

static PyType_Slot block_slots[] = {
    {Py_tp_dealloc, block_dealloc},
    {Py_bf_getbuffer, block_getbuffer},
    {0, NULL},
};

static PyType_Spec block_spec = {
    "mml_graphs.neighbors._native.Block", sizeof(Block), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, block_slots};

/* allocate(bytes) */
static PyObject *native_allocate(PyObject *module, PyObject *argument) {
    Py_ssize_t length = PyLong_AsSsize_t(argument);
    if (length < 0) return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "bytes must not be negative");
    PyTypeObject *type = ((PyTypeObject **)PyModule_GetState(module))[1];
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    size_t size = (size_t)length + ALIGNMENT;
    void *data = NULL;
    for (int k = num_kept - 1; k >= 0 && !data; k--)
        if (kept[k].size >= size && kept[k].size / 4 <= size) {
            data = kept[k].data;
            size = kept[k].size;
            size_kept -= size;
            num_kept--;
            for (int l = k; l < num_kept; l++) kept[l] = kept[l + 1];
        }
    if (!data) {
        if (size >= SMALLEST_KEPT) size += size / 4; /* so that similar sizes fit later */
        data = malloc(size);
        if (!data) return PyErr_NoMemory();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (size >= LARGE_PAGES) { /* larger pages are provided sooner; if there are none, nothing changes */
            uintptr_t page = ((uintptr_t)data + 4095) & ~(uintptr_t)4095;
            (void)madvise((void *)page, size - (page - (uintptr_t)data), MADV_HUGEPAGE);
        }
#endif
    }
    Block *block = (Block *)allocate(type, 0);
    if (!block) {
        free(data);
        return NULL;
    }
    block->data = data;
    block->size = size;
    block->length = (size_t)length;
    return (PyObject *)block;
}

/* The result of a search, before it is written to arrays. */
typedef struct {
    PyObject_HEAD
    Search *search;
    Memory *memory;
    Py_buffer inputs[NUM_INPUTS];
    int num_inputs;
    int64_t num_structures, num_atoms;
} Found;

static void found_dealloc(PyObject *self) {
    Found *found = (Found *)self;
    PyTypeObject *type = Py_TYPE(self);
    free_search(found->search);
    if (!kept_memory && found->memory && memory_size(found->memory) <= KEPT_FOR_SEARCH)
        kept_memory = found->memory;
    else
        free_memory(found->memory);
    for (int k = 0; k < found->num_inputs; k++) PyBuffer_Release(found->inputs + k);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *found_num_edges(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromLongLong(count_edges(((Found *)self)->search));
}

/* write(edge_index, images, offsets, unit_offsets, distances, num_edges, degrees, num_threads) */
static PyObject *found_write(PyObject *self, PyObject *const *args, Py_ssize_t num_args) {
    static const char *const names[] = {"edge_index", "images", "offsets", "unit_offsets", "distances", "num_edges", "degrees"};
    enum { ENDS, IMAGES, OFFSETS, UNIT_OFFSETS, DISTANCES, NUM_EDGES, DEGREES, NUM_OUTPUTS };
    if (num_args != NUM_OUTPUTS + 1) return PyErr_Format(PyExc_TypeError, "write() takes 8 arguments, got %zd", num_args);
    Found *found = (Found *)self;
    long num_threads = PyLong_AsLong(args[NUM_OUTPUTS]);
    if (num_threads == -1 && PyErr_Occurred()) return NULL;
    const int64_t edges = count_edges(found->search);
    const int64_t lengths[] = {2 * edges, 3 * edges, 3 * edges, 3 * edges, edges, found->num_structures, found->num_atoms};
    Py_buffer views[NUM_OUTPUTS];
    void *arrays[NUM_OUTPUTS] = {NULL};
    Py_ssize_t float_size = 0;
    int num_views = 0, is_written = 0;
    for (int k = 0; k < NUM_OUTPUTS; k++) {
        if (args[k] == Py_None) continue;
        Py_buffer *view = views + num_views;
        if (PyObject_GetBuffer(args[k], view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)) goto end;
        num_views++;
        int is_float = k >= IMAGES && k <= DISTANCES;
        if (is_float && !float_size && (view->itemsize == 4 || view->itemsize == 8)) float_size = view->itemsize;
        Py_ssize_t size = is_float ? float_size : 8;
        if (view->itemsize != size || view->len != lengths[k] * size) {
            PyErr_Format(PyExc_ValueError, "%s has %zd bytes, expected %lld items of %zd bytes", names[k], view->len,
                         (long long)lengths[k], size);
            goto end;
        }
        arrays[k] = view->buf;
    }
    if (!arrays[ENDS]) {
        PyErr_SetString(PyExc_TypeError, "edge_index is None, expected an array [2, E]");
        goto end;
    }
    int64_t *ends = arrays[ENDS];
    Output output = {ends, ends + edges, arrays[IMAGES], arrays[OFFSETS], arrays[UNIT_OFFSETS], arrays[DISTANCES],
                     float_size == 8};
    Py_BEGIN_ALLOW_THREADS
    is_written = write_edges(found->search, &output, (int)num_threads);
    write_counts(found->search, arrays[NUM_EDGES], arrays[DEGREES]);
    Py_END_ALLOW_THREADS
    if (!is_written) PyErr_NoMemory();
end:
    for (int k = 0; k < num_views; k++) PyBuffer_Release(views + k);
    return is_written ? Py_NewRef(Py_None) : NULL;
}

static PyMethodDef found_methods[] = {
    {"write", (PyCFunction)(void (*)(void))found_write, METH_FASTCALL,
     "write(edge_index, images, offsets, unit_offsets, distances, num_edges, degrees, num_threads)\n--\n\n"
     "Write the edges to C-contiguous arrays. All but the first may be None."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef found_properties[] = {
    {"num_edges", found_num_edges, NULL, "Number of edges of all structures.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot found_slots[] = {
    {Py_tp_dealloc, found_dealloc},
    {Py_tp_methods, found_methods},
    {Py_tp_getset, found_properties},
    {0, NULL},
};

static PyType_Spec found_spec = {
    "mml_graphs.neighbors._native.Found", sizeof(Found), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, found_slots};

/* search(positions, starts, cells, pbc, cutoffs, num_threads, max_edges) */
static PyObject *native_search(PyObject *module, PyObject *const *args, Py_ssize_t num_args) {
    static const char *const names[] = {"positions", "starts", "cells", "pbc", "cutoffs"};
    if (num_args != NUM_INPUTS + 2) return PyErr_Format(PyExc_TypeError, "search() takes 7 arguments, got %zd", num_args);
    long num_threads = PyLong_AsLong(args[NUM_INPUTS]);
    if (num_threads == -1 && PyErr_Occurred()) return NULL;
    long long max_edges = PyLong_AsLongLong(args[NUM_INPUTS + 1]);
    if (max_edges == -1 && PyErr_Occurred()) return NULL;

    PyTypeObject *type = *(PyTypeObject **)PyModule_GetState(module);
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Found *found = (Found *)allocate(type, 0); /* filled with zeros */
    if (!found) return NULL;
    for (int k = 0; k < NUM_INPUTS; k++) {
        if (PyObject_GetBuffer(args[k], found->inputs + k, PyBUF_C_CONTIGUOUS)) goto failed;
        found->num_inputs++;
    }
    const Py_buffer *inputs = found->inputs;
    const int64_t *starts = inputs[STARTS].buf;
    found->num_structures = inputs[STARTS].len / 8 - 1;
    int is_ordered = found->num_structures >= 0 && inputs[STARTS].len % 8 == 0 && inputs[STARTS].itemsize == 8 && starts[0] == 0;
    for (int64_t k = 0; is_ordered && k < found->num_structures; k++)
        is_ordered = starts[k] <= starts[k + 1] && starts[k + 1] - starts[k] < INT32_MAX;
    if (!is_ordered) {
        PyErr_SetString(PyExc_ValueError, "starts must be int64, begin with 0 and ascend, with fewer than 2^31 - 1 atoms per structure");
        goto failed;
    }
    found->num_atoms = starts[found->num_structures];
    const int64_t bytes[] = {24 * found->num_atoms, inputs[STARTS].len, 72 * found->num_structures, 3 * found->num_structures,
                             8 * found->num_structures};
    for (int k = 0; k < NUM_INPUTS; k++)
        if (inputs[k].len != bytes[k] || inputs[k].itemsize != (k == PBC ? 1 : 8)) {
            PyErr_Format(PyExc_ValueError, "%s has %zd bytes, expected %lld", names[k], inputs[k].len, (long long)bytes[k]);
            goto failed;
        }

    Structures structures = {found->num_structures, starts, inputs[POSITIONS].buf, inputs[CELLS].buf, inputs[PBC].buf,
                             inputs[CUTOFFS].buf};
    Problem problem;
    found->memory = kept_memory ? kept_memory : new_memory();
    kept_memory = NULL;
    if (!found->memory) {
        PyErr_NoMemory();
        goto failed;
    }
    Py_BEGIN_ALLOW_THREADS
    found->search = search_edges(&structures, (int)num_threads, max_edges, found->memory, &problem);
    Py_END_ALLOW_THREADS
    if (found->search) return (PyObject *)found;
    Py_DECREF(found);
    if (problem.status == NO_MEMORY) return PyErr_NoMemory();
    return Py_BuildValue("iLLLd", (int)problem.status, (long long)problem.structure, (long long)problem.src,
                         (long long)problem.dst, problem.value);
failed:
    Py_DECREF(found);
    return NULL;
}

static PyMethodDef module_methods[] = {
    {"allocate", native_allocate, METH_O, "allocate(bytes)\n--\n\nReturn a buffer, whose memory is reused after its deletion."},
    {"search", (PyCFunction)(void (*)(void))native_search, METH_FASTCALL,
     "search(positions, starts, cells, pbc, cutoffs, num_threads, max_edges)\n--\n\n"
     "Return the found edges, or the first problem: status, structure, src, dst, value."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) {
    PyObject **types = PyModule_GetState(module);
    types[0] = PyType_FromModuleAndSpec(module, &found_spec, NULL);
    types[1] = PyType_FromModuleAndSpec(module, &block_spec, NULL);
    return types[0] && types[1] ? 0 : -1;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    PyObject **types = PyModule_GetState(module);
    for (int k = 0; types && k < 2; k++) Py_VISIT(types[k]);
    return 0;
}

static int module_clear(PyObject *module) {
    PyObject **types = PyModule_GetState(module);
    for (int k = 0; types && k < 2; k++) Py_CLEAR(types[k]);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Neighbor search in C.", 2 * sizeof(PyObject *), module_methods, module_slots,
    module_traverse, module_clear, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
