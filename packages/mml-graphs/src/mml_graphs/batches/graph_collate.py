"""Collate samples without edges directly into a batch of graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from mml_samples import Array, Batch, Sample, sample_name

from mml_graphs._repr import pasteable_repr
from mml_graphs.batches.collate import collate_keys, collate_samples
from mml_graphs.graph import PointCloudToGraphTransform, rows_of
from mml_graphs.graph_parts import GRAPH_KEYS
from mml_graphs.libraries.graph_data import EDGE_KEYS, GraphData, kind_by_name
from mml_graphs.libraries.pyg import build_batch
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.sample_tensors import sample_tensors
from mml_graphs.structures import Structures

# Keys that PeriodicPropertiesTransform writes. Values of a sample under these names are replaced.
WRITTEN = frozenset(
    (
        *("atomic_numbers", "pos", "cell", "pbc", "cutoff_radius", "natoms", "graph"),
        *("src_nodes", "dst_nodes", *EDGE_KEYS),
    )
)


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
                f"neighbors must be a PeriodicPropertiesTransform, got {type(neighbors).__name__}"
            )
        if not isinstance(graph, PointCloudToGraphTransform):
            raise TypeError(f"graph must be a PointCloudToGraphTransform, got {type(graph).__name__}")
        self.neighbors = neighbors
        self.graph = graph

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Return the batch of the samples. The samples are not changed."""
        samples = list(samples)
        if not samples or not self._is_plain():
            return collate_samples([self.graph(self.neighbors(sample)) for sample in samples])
        structures = self.neighbors.read(samples)
        edges, cutoffs = self.neighbors.find(samples, structures)
        tensors = sample_tensors(structures, edges)
        edge_index = tensors.pop("edge_index")
        num_atoms, num_edges = structures.counts, edges.num_edges.tolist()
        batch: dict[str, Array] = {
            **_other_keys(samples, structures),
            **tensors,
            "cutoff_radius": torch.from_numpy(cutoffs[:, None]).to(torch.get_default_dtype()),
            "natoms": torch.from_numpy(np.array(num_atoms)),
        }
        parts = self._parts(samples, batch, num_atoms, num_edges)
        batch["graph"] = build_batch(parts, edge_index, num_atoms, num_edges)
        return cast("Batch", batch)

    def _is_plain(self) -> bool:
        """Return whether `build_batch` can build the graph."""
        graph = self.graph
        return (
            graph.backend == "pyg"
            and not graph.graph_keys
            and all(kind_by_name(key) == "node" for key in graph.node_keys)
            and all(kind_by_name(key) == "edge" for key in graph.edge_keys)
        )

    def _parts(
        self,
        samples: Sequence[Sample],
        batch: Mapping[str, Array],
        num_atoms: list[int],
        num_edges: list[int],
    ) -> GraphData:
        """Collect the joined nodes and edges of the graphs, including further keys of the samples."""
        nodes = {key: batch[key] for key in ("atomic_numbers", "pos")}
        edges = {key: batch[key] for key in ("offsets", "images", "distances")}
        whole = {key: batch[key] for key in ("cell", "pbc", "natoms")}
        for kind, parts, keys, counts in (
            ("node", nodes, self.graph.node_keys, num_atoms),
            ("edge", edges, self.graph.edge_keys, num_edges),
        ):
            for key in keys:
                if key in WRITTEN - GRAPH_KEYS:
                    parts[key] = batch[key]
                elif key not in GRAPH_KEYS:
                    some = zip(samples, counts, strict=True)
                    parts[key] = torch.cat([_named_rows(sample, kind, key, count) for sample, count in some])
        return GraphData(nodes, edges, batch["src_nodes"], batch["dst_nodes"], whole, sum(num_atoms))

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _named_rows(sample: Sample, kind: str, key: str, count: int) -> torch.Tensor:
    try:
        return rows_of(sample, kind, key, count)
    except ValueError as error:
        raise ValueError(f"{sample_name(sample)}: {error}") from error


def _other_keys(samples: Sequence[Sample], structures: Structures) -> dict[str, Array]:
    """Collate the keys that the neighbor search does not write."""
    if all(sample.keys() <= WRITTEN for sample in samples):
        return {}
    names = [sample_name(sample, index) for index, sample in enumerate(samples)]
    rest = [{key: value for key, value in sample.items() if key not in WRITTEN} for sample in samples]
    return collate_keys(rest, names, structures.counts)
