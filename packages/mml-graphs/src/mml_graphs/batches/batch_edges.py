"""Find the edges of a batch of structures: in groups if possible, otherwise one structure after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate

import numpy as np
import torch
from mml_samples import Sample

from mml_graphs.batches.dense_batch import dense_group_edges
from mml_graphs.batches.small_cells import group_edges
from mml_graphs.batches.structures import GroupEdges, Structures, Writer
from mml_graphs.neighbors.dense import is_dense
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.sample_tensors import EDGE_ARRAYS, ENDS, as_tensors, copy_edges, empty_batch, float_dtype

# Structures with fewer atoms are searched in groups. Larger structures gain nothing from it (measured),
# because their own arrays are long enough.
SMALL = 16

# Number of candidates that are searched at once (measured). At this size, intermediate results stay in the
# processor's cache, and the C library reuses their memory for the next portion.
SMALL_CANDIDATES, DENSE_CANDIDATES = 50_000, 1_000_000


FindGroup = Callable[[Structures, float], GroupEdges]


def find_batch_edges(
    samples: Sequence[Sample], structures: Structures, neighbors: PeriodicPropertiesTransform
) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Find the edges of a batch.

    Small structures are searched together, and so are structures of medium size and common density. All
    others are searched one by one, as well as structures whose edges the joint search leaves open.

    Parameters
    ----------
    samples
        Samples that are named in messages.
    structures
        Their B structures with N atoms in total.
    neighbors
        Transform that finds the edges of a single structure, and whose options apply.

    Returns
    -------
    tensors
        Arrays of `mml_graphs.sample_tensors.empty_batch` for the B structures, and ``cutoff_radius`` [B, 1],
        the cutoffs with which the edges were found, angstrom.
    num_edges
        [B], number of edges of each structure.

    Raises
    ------
    ValueError
        If a structure is invalid. The message begins with the sample's name.
    """
    cutoff = neighbors.cutoff_radius
    num_edges, cutoffs = [0] * len(samples), [cutoff] * len(samples)
    writers: dict[int, Writer] = {}  # keys are the index of the first structure that a writer handles
    alone = set(range(len(samples)))
    for find_group, members in _groups(structures, neighbors):
        some = structures.take(members)
        group = find_group(some, cutoff)
        writers |= group.writers(members, some.starts)
        for index, count, is_settled in zip(members, group.counts, group.settled.tolist(), strict=True):
            num_edges[index] = count
            if is_settled:
                alone.remove(index)
    for index in sorted(alone):
        structure, cell = structures.one(index)
        arrays, cutoffs[index] = neighbors.find(samples[index], structure, cell)
        writers[index] = partial(copy_edges, arrays)
        num_edges[index] = len(arrays["src_nodes"])

    first_edges = list(accumulate(num_edges, initial=0))
    batch = empty_batch(len(samples), structures.starts[-1], first_edges[-1])
    batch["atomic_numbers"][:], batch["pos"][:] = structures.atomic_numbers, structures.positions
    batch["cell"][:], batch["pbc"][:] = structures.cells, structures.pbc
    batch["cutoff_radius"] = np.array(cutoffs, dtype=float_dtype()).reshape(-1, 1)
    firsts = sorted(writers)
    for first, end in zip(firsts, [*firsts[1:], len(samples)], strict=True):
        rows = slice(first_edges[first], first_edges[end])
        part = {key: batch[key][rows] for key in EDGE_ARRAYS}
        writers[first](part)
        for key in ENDS:
            part[key] += structures.starts[first]
    return as_tensors(batch), num_edges


def _groups(
    structures: Structures, neighbors: PeriodicPropertiesTransform
) -> list[tuple[FindGroup, list[int]]]:
    """Return groups of structures that are searched together, each with its search function."""
    if (
        neighbors.backend not in ("auto", "pymatgen")
        or neighbors.max_neighbors is not None
        or neighbors.is_undirected
        or neighbors.allow_self_loops
        or neighbors.connectivity == "graph"
    ):
        return []
    num_candidates = structures.count_candidates(neighbors.cutoff_radius).tolist()
    small: list[int] = []
    dense: list[int] = []
    for index, (num_atoms, count) in enumerate(zip(structures.counts, num_candidates, strict=True)):
        if num_atoms < SMALL:
            small.append(index)
        elif neighbors.backend == "auto" and is_dense(num_atoms, count):
            dense.append(index)
    return [
        (find_group, members)
        for find_group, kind, most in (
            (group_edges, small, SMALL_CANDIDATES),
            (dense_group_edges, dense, DENSE_CANDIDATES),
        )
        for members in _portions(kind, num_candidates, most)
        if len(members) > 1
    ]


def _portions(members: list[int], sizes: list[float], most: float) -> list[list[int]]:
    """Divide structures into portions. Each one ends with the structure that reaches the size ``most``."""
    portions: list[list[int]] = [[]]
    size = 0.0
    for index in members:
        if size >= most:
            portions.append([])
            size = 0.0
        portions[-1].append(index)
        size += sizes[index]
    return portions
