"""From samples without edges to a batch of graphs, in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mml_graphs._repr import pasteable_repr
from mml_graphs.collate import collate_samples
from mml_graphs.edges import GRAPH_KEYS
from mml_graphs.graph import PointCloudToGraphTransform, rows_of
from mml_graphs.graph_data import EDGE_KEYS, GraphData, kind_by_name
from mml_graphs.lattice import Cell
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.pyg_batch import build_batch
from mml_graphs.sample import Structure, sample_name
from mml_graphs.sample_tensors import ENDS, Arrays, as_tensors, join_arrays, sample_arrays
from mml_graphs.small_cells import group_edges

# What PeriodicPropertiesTransform writes; what a sample holds under these names is replaced.
WRITTEN = frozenset(
    ("atomic_numbers", "pos", "cell", "pbc", "cutoff_radius", "natoms", "graph", *ENDS, *EDGE_KEYS)
)

# Structures of fewer atoms are searched in groups (measured: above, their own arrays are long enough).
SMALL = 16


class GraphCollate:
    """Find the neighbours of samples, make their graphs and batch them, as ``collate_fn`` of a data loader.

    The batch is that of the two transforms and `collate_samples`::

        collate_samples([graph(neighbors(sample)) for sample in samples])

    but edges become tensors once for the whole batch, which takes a fraction of the time for small
    structures. The graph of a batch and the batch itself share their tensors.

    Parameters
    ----------
    neighbors
        How to find the edges.
    graph
        How to make graphs. With DGL, with ``graph_keys``, or with keys of edges whose names do not tell that
        they are, the samples are transformed one by one.

    Raises
    ------
    ValueError
        As the transforms and `collate_samples` do.
    ImportError
        If the graph library is not installed; the message holds the install command.
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
        """Return the batch of some samples, which are not changed."""
        samples = list(samples)
        if not samples or not self._is_plain():
            return collate_samples([self.graph(self.neighbors(sample)) for sample in samples])
        structures = [self.neighbors.read(sample) for sample in samples]
        arrays, n_edges, cutoffs = self._found(samples, structures)
        n_atoms = [len(structure.atomic_numbers) for structure, _ in structures]

        batch = _collated(samples, structures)
        batch.update(as_tensors(arrays))
        batch["natoms"] = torch.from_numpy(np.array(n_atoms))
        batch["cutoff_radius"] = torch.tensor(cutoffs).reshape(-1, 1)
        parts = self._parts(samples, batch, n_atoms, n_edges)
        batch["graph"] = build_batch(parts, batch.pop("edge_index"), n_atoms, n_edges)
        return batch

    def _is_plain(self) -> bool:
        """Tell whether `build_batch` can make the graph."""
        graph = self.graph
        return (
            graph.backend == "pyg"
            and not graph.graph_keys
            and all(kind_by_name(key) == "node" for key in graph.node_keys)
            and all(kind_by_name(key) == "edge" for key in graph.edge_keys)
        )

    def _found(
        self, samples: Sequence[Mapping[str, Any]], structures: Sequence[tuple[Structure, Cell]]
    ) -> tuple[Arrays, list[int], list[float]]:
        """Return the joined arrays of the batch, the edges of each structure, and the cutoffs."""
        parts, n_edges, cutoffs = [], [], []
        for members in self._groups(structures):
            group = None
            if len(members) > 1:
                group = group_edges(
                    [structures[index][0].positions for index in members],
                    [structures[index][1] for index in members],
                    self.neighbors.cutoff_radius,
                )
            if group is not None and group.settled.all():
                parts.append(
                    sample_arrays(
                        [structures[index][0] for index in members],
                        group.edges,
                        group.offsets,
                        group.unit_offsets,
                    )
                )
                n_edges += group.counts.tolist()
                cutoffs += [self.neighbors.cutoff_radius] * len(members)
                continue
            for index in members:
                part, cutoff = self.neighbors.find(samples[index], *structures[index])
                parts.append(part)
                n_edges.append(len(part["src_nodes"]))
                cutoffs.append(cutoff)
        return join_arrays(parts), n_edges, cutoffs

    def _groups(self, structures: Sequence[tuple[Structure, Cell]]) -> list[list[int]]:
        """Divide the batch into runs of small structures, and single ones."""
        neighbors = self.neighbors
        alone = (
            neighbors.backend not in ("auto", "pymatgen")
            or neighbors.max_neighbors is not None
            or neighbors.is_undirected
            or neighbors.allow_self_loops
        )
        groups: list[list[int]] = []
        was_small = False
        for index, (structure, _) in enumerate(structures):
            small = not alone and len(structure.positions) < SMALL
            if small and was_small:
                groups[-1].append(index)
            else:
                groups.append([index])
            was_small = small
        return groups

    def _parts(
        self,
        samples: Sequence[Mapping[str, Any]],
        batch: Mapping[str, Any],
        n_atoms: list[int],
        n_edges: list[int],
    ) -> GraphData:
        nodes = {key: batch[key] for key in ("atomic_numbers", "pos")}
        edges = {key: batch[key] for key in ("offsets", "images", "distances")}
        whole = {key: batch[key] for key in ("cell", "pbc", "natoms")}
        for kind, parts, keys, counts in (
            ("node", nodes, self.graph.node_keys, n_atoms),
            ("edge", edges, self.graph.edge_keys, n_edges),
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
        return GraphData(nodes, edges, batch["src_nodes"], batch["dst_nodes"], whole, sum(n_atoms))

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _named_rows(sample: Mapping[str, Any], kind: str, key: str, count: int) -> torch.Tensor:
    try:
        return rows_of(sample, kind, key, count)
    except ValueError as error:
        raise ValueError(f"{sample_name(sample)}: {error}") from error


def _collated(
    samples: Sequence[Mapping[str, Any]], structures: Sequence[tuple[Structure, Cell]]
) -> dict[str, Any]:
    """Collate what the neighbour search does not write."""
    if all(sample.keys() <= WRITTEN for sample in samples):
        return {}
    rest = []
    for sample, (structure, _) in zip(samples, structures, strict=True):
        kept = {key: value for key, value in sample.items() if key not in WRITTEN}
        rest.append({**kept, "atomic_numbers": structure.atomic_numbers})  # tells how many atoms there are
    return collate_samples(rest)
