"""Find the edges of one structure or of a batch by the search in C, ``native/search.c``.

`find_batch_edges` searches any number of structures and returns a `Batch`. The search is optional.
`available` returns whether it is installed. If the environment variable ``MML_GRAPHS_NATIVE`` is ``0``, it is
not used. If the variable is ``1``, a missing search raises an error.

The module in C uses the limited API of Python and the buffer protocol. A search of one atom and the writing
of its arrays take 1.8 microseconds, including their allocation by NumPy. With ``ctypes``, which would need no
Python headers for building, they take 15 microseconds, longer than the search of a small crystal.
"""

from __future__ import annotations

import math
import os
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch.utils.data import get_worker_info

from mml_graphs.neighbors.edges import Edges
from mml_graphs.neighbors.lattice import Cell

Floats = NDArray[np.float64]

VARIABLE = "MML_GRAPHS_NATIVE"

REMEDY = (
    "Install a C compiler, and then run: "
    "python -m pip install --force-reinstall --no-deps --no-binary mml-graphs mml-graphs"
)

# Largest number of edges that one call finds. They take 30 GB as float32.
MAX_EDGES = 2**29

# Structures with fewer atoms are searched by a single thread (as in search.c).
SHARED = 4096

ALIGNMENT = 64  # bytes

NO_PROBLEM, NO_MEMORY, NOT_FINITE, NO_VOLUME, COINCIDENT, TOO_DISTANT, TOO_MANY = range(7)


class Batch(NamedTuple):
    """Edges of B structures, sorted by source, then destination, then image.

    Attributes
    ----------
    edge_index
        [2, E] int64, source and destination of each edge. Atoms are counted through all structures.
    images, offsets, unit_offsets
        [E, 3] each: the lattice translation of the destination atom, ``images @ cell`` in angstrom, and the
        edge in fractional coordinates. ``None`` if not requested.
    distances
        [E], ``|pos[dst] + offsets - pos[src]|``, angstrom, rounded to the dtype from float64. ``None`` if not
        requested.
    num_edges
        [B] int64, number of edges of each structure.
    degrees
        [M] int64, number of edges of each atom.
    """

    edge_index: NDArray[np.int64]
    images: NDArray[Any] | None
    offsets: NDArray[Any] | None
    unit_offsets: NDArray[Any] | None
    distances: NDArray[Any] | None
    num_edges: NDArray[np.int64]
    degrees: NDArray[np.int64]


class StructureError(ValueError):
    """A structure of a batch is invalid.

    Attributes
    ----------
    structure
        Index of the structure.
    """

    def __init__(self, structure: int, message: str) -> None:
        super().__init__(message)
        self.structure = structure


@cache
def _module() -> ModuleType | None:
    if why_not():
        return None
    return import_module("mml_graphs.neighbors._native")


@cache
def why_not() -> str | None:
    """Return why the search in C is not available, or ``None`` if it is.

    Raises
    ------
    ValueError
        If the environment variable ``MML_GRAPHS_NATIVE`` is neither 0 nor 1.
    ImportError
        If the variable is 1 and the search is not installed.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "0", "1"):
        raise ValueError(f"{VARIABLE} must be 0 or 1, got {wanted!r}")
    if wanted == "0":
        return f"the search in C is disabled by {VARIABLE}=0"
    try:
        import_module("mml_graphs.neighbors._native")
    except ImportError as error:
        reason = f"the search in C is not installed ({error}). {REMEDY}"
        if wanted == "1":
            raise ImportError(f"{VARIABLE} is 1, but {reason}") from error
        return reason
    return None


def available() -> bool:
    """Return whether the search in C is installed and not disabled by ``MML_GRAPHS_NATIVE=0``."""
    return _module() is not None


def is_used(backend: str) -> bool:
    """Return whether a backend is the native search."""
    return backend == "native" or (backend == "auto" and available())


def default_threads() -> int:
    """Return 1 in a worker of a `DataLoader`, otherwise the number of threads of torch."""
    return 1 if get_worker_info() is not None else torch.get_num_threads()


def find_batch_edges(
    positions: NDArray[np.float64],
    starts: NDArray[np.int64],
    cells: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    cutoffs: NDArray[np.float64],
    *,
    dtype: DTypeLike = np.float64,
    num_threads: int | None = 1,
    images: bool = True,
    offsets: bool = True,
    unit_offsets: bool = True,
    distances: bool = True,
    max_edges: int = MAX_EDGES,
) -> Batch:
    """Find all pairs of atoms within the cutoff of their structure, periodic images included.

    Parameters
    ----------
    positions
        [M, 3] float64, Cartesian positions of the atoms of all B structures, angstrom. All arrays are
        C-contiguous.
    starts
        [B + 1] int64, index of the first atom of each structure, followed by M.
    cells
        [B, 3, 3] float64, rows are the lattice vectors, angstrom. Vectors of directions that are not periodic
        may be missing (zeros).
    pbc
        [B, 3] bool, periodicity along each lattice vector.
    cutoffs
        [B] float64, largest distance, angstrom, inclusive.
    dtype
        Floating-point type of the result, float32 or float64. The search runs in float64.
    num_threads
        Number of threads. The result does not depend on it. ``None`` selects `default_threads`.
    images, offsets, unit_offsets, distances
        Whether to return these arrays.
    max_edges
        Largest number of edges of all structures.

    Returns
    -------
    Batch
        Each pair in both directions. An atom is a neighbor of itself only in another image.

    Raises
    ------
    StructureError
        If a structure has values that are not finite, a cell without volume, two atoms at the same position,
        or an atom more than 8,388,608 cells outside the cell, or if there would be more than ``max_edges``
        edges.
    ImportError
        If the search in C is not installed or disabled.
    """
    module = _module()
    if module is None:
        raise ImportError(f"neighbor backend 'native': {why_not()}")
    threads = default_threads() if num_threads is None else num_threads
    found = module.search(positions, starts, cells, pbc, cutoffs, threads, max_edges)
    if type(found) is tuple:
        _raise(found, positions, starts, cells, pbc, cutoffs, max_edges)
    batch = _allocate(
        module,
        found.num_edges,
        len(starts) - 1,
        len(positions),
        np.dtype(dtype),
        (images, offsets, unit_offsets, distances),
    )
    found.write(*batch, threads)
    return batch


def _allocate(
    module: ModuleType,
    num_edges: int,
    num_structures: int,
    num_atoms: int,
    dtype: np.dtype[Any],
    wanted: tuple[bool, bool, bool, bool],
) -> Batch:
    """Allocate the arrays of a batch in one block of memory, which is reused after their deletion."""
    integer = np.dtype(np.int64)
    forms = (
        ((2, num_edges), integer),
        ((num_edges, 3), dtype if wanted[0] else None),
        ((num_edges, 3), dtype if wanted[1] else None),
        ((num_edges, 3), dtype if wanted[2] else None),
        ((num_edges,), dtype if wanted[3] else None),
        ((num_structures,), integer),
        ((num_atoms,), integer),
    )
    starts = [0]
    for shape, kind in forms:
        size = math.prod(shape) * kind.itemsize if kind else 0
        starts.append(starts[-1] + size + -size % ALIGNMENT)
    block = module.allocate(starts[-1])
    return Batch(
        *(
            np.ndarray(shape, kind, block, start) if kind else None  # type: ignore[arg-type]
            for (shape, kind), start in zip(forms, starts, strict=False)
        )
    )


def find_one(positions: NDArray[np.float64], cell: Cell, cutoff: float) -> Edges:
    """Find the edges of one structure, as `find_batch_edges` does, with the number of threads of torch.

    Parameters
    ----------
    positions
        [N, 3] float64, C-contiguous, angstrom.
    cell
        Completed cell.
    cutoff
        Largest distance, angstrom, inclusive.

    Returns
    -------
    Edges
        Edges with float64 images.
    """
    threads = None if len(positions) >= SHARED else 1
    batch = find_batch_edges(
        positions,
        np.array((0, len(positions))),
        cell.matrix[None],
        np.array(cell.pbc, dtype=np.bool_),
        np.array((cutoff,), dtype=np.float64),
        num_threads=threads,
        offsets=False,
        unit_offsets=False,
    )
    src, dst = batch.edge_index
    return Edges(src, dst, cast(Floats, batch.images), cast(Floats, batch.distances))


def _raise(
    problem: tuple[int, int, int, int, float],
    positions: NDArray[np.float64],
    starts: NDArray[np.int64],
    cells: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    cutoffs: NDArray[np.float64],
    max_edges: int,
) -> None:
    """Raise the error that describes a problem that the search in C reports."""
    status, structure, src, dst, value = problem
    cutoff = float(cutoffs[structure])
    if status == COINCIDENT:
        place = positions[int(starts[structure]) + src].round(4).tolist()
        message = (
            f"atoms {src} and {dst} are at the same position {place} "
            f"({value:.1e} angstrom apart, periodic images included). Remove one of them."
        )
    elif status == NOT_FINITE:
        message = (
            "positions or cell contain values that are not finite"
            if 0 < cutoff < np.inf
            else f"cutoff must be positive and finite, in angstrom, got {cutoff!r}"
        )
    elif status == NO_VOLUME:
        message = (
            f"'cell' {cells[structure].tolist()} has no volume in its periodic directions "
            f"(pbc {pbc[structure].astype(bool).tolist()}). "
            "Check that its rows are three independent lattice vectors in angstrom."
        )
    elif status == TOO_DISTANT:
        message = (
            f"atom {src} is {value:.3g} cells outside the cell, or the cell is skewed by as much; at most "
            "8,388,608 are supported. Check the positions and the cell, or wrap the atoms into the cell."
        )
    else:
        message = (
            f"a cutoff of {cutoff:g} angstrom gives about {value:.2g} edges, more than the limit of "
            f"{max_edges:,}. Decrease the cutoff."
        )
    raise StructureError(structure, message)
