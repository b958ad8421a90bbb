"""Collate samples without edges directly into a batch of graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from mml_graphs._repr import pasteable_repr
from mml_graphs.batches.collate import collate_samples
from mml_graphs.batches.dense_batch import dense_group_edges
from mml_graphs.batches.pyg_batch import build_batch
from mml_graphs.batches.small_cells import group_edges
from mml_graphs.batches.structures import (
    GroupEdges,
    Structures,
    join_structures,
    may_be_fractional,
    read_plain,
)
from mml_graphs.graph import PointCloudToGraphTransform, rows_of
from mml_graphs.graph_parts import GRAPH_KEYS
from mml_graphs.libraries.graph_data import EDGE_KEYS, GraphData, kind_by_name
from mml_graphs.neighbors.dense import is_dense
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.sample import sample_name
from mml_graphs.sample_tensors import (
    EDGE_ARRAYS,
    ENDS,
    Arrays,
    as_tensors,
    copy_edges,
    empty_batch,
    empty_edges,
    float_dtype,
)

# Keys that PeriodicPropertiesTransform writes. Values of a sample under these names are replaced.
WRITTEN = frozenset(
    ("atomic_numbers", "pos", "cell", "pbc", "cutoff_radius", "natoms", "graph", *ENDS, *EDGE_KEYS)
)

# Structures with fewer atoms are searched in groups. Larger structures gain nothing from it (measured),
# because their own arrays are long enough.
SMALL = 16

# Number of candidates that are searched at once (measured). At this size, intermediate results stay in the
# processor's cache, and the C library reuses their memory for the next portion.
SMALL_CANDIDATES, DENSE_CANDIDATES = 50_000, 1_000_000


FindGroup = Callable[[Structures, float], GroupEdges]
Writer = Callable[[Arrays], None]


class GraphCollate:
    """Find neighbors, build graphs and batch them in one step, as the ``collate_fn`` of a data loader.

    The batch is the same as that of the two transforms and `collate_samples`::

        collate_samples([graph(neighbors(sample)) for sample in samples])

    However, the edges are converted to tensors once for the whole batch. For small structures, this takes a
    fraction of the time. The batch and its graph share their tensors.

    Parameters
    ----------
    neighbors
        Transform that finds the edges.
    graph
        Transform that builds the graphs. The samples are transformed one by one if it uses DGL, has
        ``graph_keys``, or has node or edge keys whose kind does not follow from their names.

    Raises
    ------
    TypeError
        If ``neighbors`` or ``graph`` is not a transform of the expected class.
    ValueError
        If a sample is invalid, under the same conditions as in the transforms and `collate_samples`.
    ImportError
        If the graph library is not installed. The message contains the install command.
    """

    def __init__(self, neighbors: PeriodicPropertiesTransform, graph: PointCloudToGraphTransform) -> None:
        if not isinstance(neighbors, PeriodicPropertiesTransform):
            raise TypeError(
                f"neighbors is {type(neighbors).__name__}, expected a PeriodicPropertiesTransform"
            )
        if not isinstance(graph, PointCloudToGraphTransform):
            raise TypeError(f"graph is {type(graph).__name__}, expected a PointCloudToGraphTransform")
        self.neighbors = neighbors
        self.graph = graph

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the batch of the samples. The samples are not changed."""
        samples = list(samples)
        if not samples or not self._is_plain():
            return collate_samples([self.graph(self.neighbors(sample)) for sample in samples])
        structures = self._read(samples)
        arrays, num_edges, cutoffs = self._found(samples, structures)
        num_atoms = structures.counts

        arrays["cutoff_radius"] = np.array(cutoffs, dtype=float_dtype()).reshape(-1, 1)
        batch = _collated(samples, structures)
        batch.update(as_tensors(arrays))
        batch["natoms"] = torch.from_numpy(np.array(num_atoms))
        parts = self._parts(samples, batch, num_atoms, num_edges)
        batch["graph"] = build_batch(parts, batch.pop("edge_index"), num_atoms, num_edges)
        return batch

    def _is_plain(self) -> bool:
        """Return whether `build_batch` can build the graph."""
        graph = self.graph
        return (
            graph.backend == "pyg"
            and not graph.graph_keys
            and all(kind_by_name(key) == "node" for key in graph.node_keys)
            and all(kind_by_name(key) == "edge" for key in graph.edge_keys)
        )

    def _read(self, samples: Sequence[Mapping[str, Any]]) -> Structures:
        """Read all structures together if their form allows it. Otherwise, read them one by one."""
        neighbors = self.neighbors
        if not neighbors.convert_to_unit_cell and neighbors.is_cartesian is not False:
            structures = read_plain(samples)
            if structures is not None and (neighbors.is_cartesian or not may_be_fractional(structures)):
                return structures
        return join_structures([neighbors.read(sample) for sample in samples])

    def _found(
        self, samples: Sequence[Mapping[str, Any]], structures: Structures
    ) -> tuple[Arrays, list[int], list[float]]:
        """Return the arrays of the batch, the number of edges of each structure, and the cutoffs."""
        cutoff = self.neighbors.cutoff_radius
        num_edges, cutoffs = [0] * len(samples), [cutoff] * len(samples)
        writers: dict[int, Writer] = {}  # keys are the index of the first structure that a writer handles
        alone = set(range(len(samples)))
        for find_group, members in self._groups(structures):
            some = structures.take(members)
            group = find_group(some, cutoff)
            in_a_row = members[-1] - members[0] == len(members) - 1
            if in_a_row and group.settled.all():
                found = {members[0]: group.write}
                settled = members
            else:
                each = zip(members, split_edges(group, some.starts), group.settled.tolist(), strict=True)
                found = {index: write for index, write, is_settled in each if is_settled}
                settled = list(found)
            writers |= found
            alone.difference_update(settled)
            for index, count in zip(members, group.counts, strict=True):
                num_edges[index] = count
        for index in alone:
            arrays, cutoffs[index] = self.neighbors.find(samples[index], *structures.one(index))
            writers[index] = partial(copy_edges, arrays)
            num_edges[index] = len(arrays["src_nodes"])

        first_edges = list(accumulate(num_edges, initial=0))
        batch = empty_batch(len(samples), structures.starts[-1], first_edges[-1])
        batch["atomic_numbers"][:], batch["pos"][:] = structures.atomic_numbers, structures.positions
        batch["cell"][:], batch["pbc"][:] = structures.cells, structures.pbc
        firsts = sorted(writers)
        for first, end in zip(firsts, [*firsts[1:], len(samples)], strict=True):
            rows = slice(first_edges[first], first_edges[end])
            part = {key: batch[key][rows] for key in EDGE_ARRAYS}
            writers[first](part)
            for key in ENDS:
                part[key] += structures.starts[first]
        return batch, num_edges, cutoffs

    def _groups(self, structures: Structures) -> list[tuple[FindGroup, list[int]]]:
        """Return groups of structures that are searched together, each with its search function."""
        neighbors = self.neighbors
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

    def _parts(
        self,
        samples: Sequence[Mapping[str, Any]],
        batch: Mapping[str, Any],
        num_atoms: list[int],
        num_edges: list[int],
    ) -> GraphData:
        nodes = {key: batch[key] for key in ("atomic_numbers", "pos")}
        edges = {key: batch[key] for key in ("offsets", "images", "distances")}
        whole = {key: batch[key] for key in ("cell", "pbc", "natoms")}
        for kind, parts, keys, counts in (
            ("node", nodes, self.graph.node_keys, num_atoms),
            ("edge", edges, self.graph.edge_keys, num_edges),
        ):
            for key in keys:
                if key in GRAPH_KEYS:
                    continue
                if key in WRITTEN:
                    parts[key] = batch[key]
                else:
                    parts[key] = torch.cat(
                        [
                            _named_rows(sample, kind, key, count)
                            for sample, count in zip(samples, counts, strict=True)
                        ]
                    )
        return GraphData(nodes, edges, batch["src_nodes"], batch["dst_nodes"], whole, sum(num_atoms))

    def __repr__(self) -> str:
        return pasteable_repr(self)


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


def split_edges(group: GroupEdges, starts: Sequence[int]) -> list[Writer]:
    """Return functions that write the edges of each structure of a group, with atoms counted from zero."""
    arrays = empty_edges(sum(group.counts))
    group.write(arrays)
    writers: list[Writer] = []
    edge = 0
    for count, atom in zip(group.counts, starts, strict=False):
        part = {key: array[edge : edge + count] for key, array in arrays.items()}
        for key in ENDS:
            part[key] -= atom
        writers.append(partial(copy_edges, part))
        edge += count
    return writers


def _named_rows(sample: Mapping[str, Any], kind: str, key: str, count: int) -> torch.Tensor:
    try:
        return rows_of(sample, kind, key, count)
    except ValueError as error:
        raise ValueError(f"{sample_name(sample)}: {error}") from error


def _collated(samples: Sequence[Mapping[str, Any]], structures: Structures) -> dict[str, Any]:
    """Collate the keys that the neighbor search does not write."""
    if all(sample.keys() <= WRITTEN for sample in samples):
        return {}
    rest = []
    for sample, start, end in zip(samples, structures.starts, structures.starts[1:], strict=False):
        kept = {key: value for key, value in sample.items() if key not in WRITTEN}
        rest.append({**kept, "atomic_numbers": structures.atomic_numbers[start:end]})  # counts the atoms
    return collate_samples(rest)
