"""Transforms from samples to graphs of PyG or DGL, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mml_samples import Array, Sample, sample_name

from mml_graphs._labels import exact
from mml_graphs._repr import pasteable_repr
from mml_graphs.graph_parts import GRAPH_KEYS, graph_parts, is_periodic
from mml_graphs.libraries import graph_libraries
from mml_graphs.libraries.graph_data import EDGE_KEYS, GraphData
from mml_graphs.libraries.graph_libraries import Library
from mml_graphs.neighbors.find_edges import check_cutoff
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.sample import with_keys


class PointCloudToGraphTransform:
    """Build a PyG or DGL graph from a sample and add it to the sample under ``graph``.

    If the sample has edges, the graph uses them. If it has none and is not periodic, all pairs within
    ``cutoff_dist`` become edges. A periodic sample without edges raises an error, because
    `PeriodicPropertiesTransform` has to find its edges first.

    A graph has ``atomic_numbers`` [N], ``pos`` [N, 3], ``offsets`` [E, 3], ``images`` [E, 3], ``distances``
    [E], ``cell`` [1, 3, 3], ``pbc`` [1, 3], ``natoms`` [1] and the requested further keys. A PyG graph stores
    each of them under its name, and the edges as ``edge_index`` [2, E] (source, destination). A DGL graph
    stores the arrays of the nodes in ``ndata`` and those of the edges, which point from source to
    destination, in ``edata``. Arrays of the whole graph are repeated for each node, in ``ndata``, as
    ``whole.cell`` [N, 1, 3, 3], ``whole.pbc`` and ``whole.natoms``, because DGL has no other place that
    ``dgl.batch`` preserves.

    Parameters
    ----------
    backend
        Graph library: ``"pyg"`` or ``"dgl"``.
    cutoff_dist
        Largest distance of an edge in samples that have no edges and are not periodic, angstrom.
    node_keys
        Further keys of the sample, or of its ``targets``, with N rows.
    edge_keys
        Further keys of the sample, or of its ``targets``, with E rows, for example ``"unit_offsets"``.
    graph_keys
        Further keys of the sample, or of its ``targets``, that belong to the whole structure. A number
        becomes a tensor [1]. DGL accepts only tensors and numbers.

    Raises
    ------
    ValueError
        If the backend is unknown, a key is missing or has the wrong number of rows, or a periodic sample has
        no edges.
    ImportError
        If the graph library is not installed. The message contains the install command.
    """

    is_random = False

    def __init__(
        self,
        backend: Library = "pyg",
        cutoff_dist: float = 7.0,
        node_keys: Sequence[str] = (),
        edge_keys: Sequence[str] = (),
        graph_keys: Sequence[str] = (),
    ) -> None:
        graph_libraries.check_library(backend)
        check_cutoff(cutoff_dist)
        self.backend = backend
        self.cutoff_dist = float(cutoff_dist)
        self.node_keys = _names(backend, "node_keys", node_keys)
        self.edge_keys = _names(backend, "edge_keys", edge_keys)
        self.graph_keys = _names(backend, "graph_keys", graph_keys)

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with its graph under ``graph``."""
        if "src_nodes" in sample and "dst_nodes" in sample:
            result = with_keys(sample, {})
        elif is_periodic(sample):
            raise ValueError(
                f"{sample_name(sample)}: edges ('src_nodes', 'dst_nodes') are missing, and the sample "
                "is periodic. "
                "Apply PeriodicPropertiesTransform before PointCloudToGraphTransform."
            )
        else:
            result = PeriodicPropertiesTransform(self.cutoff_dist, on_isolated="allow")(sample)
        try:
            result["graph"] = graph_libraries.build(self.backend, self._parts(result))
        except ValueError as error:
            raise ValueError(f"{sample_name(sample)}: {error}") from error
        return result

    def _parts(self, sample: Sample) -> GraphData:
        parts = graph_parts(sample)
        for key in self.node_keys:
            if key not in GRAPH_KEYS:
                parts.nodes[key] = rows_of(sample, "node", key, parts.num_nodes)
        for key in self.edge_keys:
            if key not in GRAPH_KEYS:
                parts.edges[key] = rows_of(sample, "edge", key, parts.num_edges)
        for key in self.graph_keys:
            if key not in GRAPH_KEYS:
                parts.whole[key] = _whole(_find(sample, "graph", key))
        return parts

    def __repr__(self) -> str:
        return pasteable_repr(self)


class GraphToPointCloudTransform:
    """Replace the graph of a sample by the keys of the sample contract.

    Every array of the graph except ``natoms`` is stored under its own name and replaces the value of that
    name in the sample or its ``targets``. The ends of the edges become ``src_nodes`` and ``dst_nodes``. The
    graph may come from any source. To rebuild the graph, pass its further keys to
    `PointCloudToGraphTransform`.

    Parameters
    ----------
    backend
        Graph library: ``"pyg"`` or ``"dgl"``.
    full_pairwise
        If ``True``, keep ``src_nodes``, ``dst_nodes`` and every array with one row per edge. If ``False``,
        leave them out, including those of the sample, so that the size of the result is proportional to the
        number of atoms. `PeriodicPropertiesTransform` can find the edges again. (With ``False``, the older
        toolkit kept a random subset of the pairs. This class makes no random choice.)

    Raises
    ------
    ValueError
        If the backend is unknown, or the sample does not have a single graph of that library.
    """

    is_random = False

    def __init__(self, backend: Library = "pyg", full_pairwise: bool = True) -> None:
        graph_libraries.check_library(backend)
        self.backend = backend
        self.full_pairwise = full_pairwise

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample in which the arrays of the graph replace the graph."""
        graph = sample.get("graph")
        try:
            library = graph_libraries.library_of(graph)
            if library not in (None, self.backend):
                raise ValueError(
                    f"'graph' is a graph of {library!r}, expected {self.backend!r}. Pass backend={library!r}."
                )
            data = graph_libraries.take_apart(graph)
        except ValueError as error:
            raise ValueError(f"{sample_name(sample)}: {error}") from error
        dropped = {"graph"}
        tensors = {**data.nodes, **data.whole}
        if self.full_pairwise:
            tensors |= {**data.edges, "src_nodes": data.src, "dst_nodes": data.dst}
        else:
            dropped |= {"src_nodes", "dst_nodes", *EDGE_KEYS, *data.edges}
        tensors.pop("natoms", None)
        if "pbc" in tensors:
            tensors["pbc"] = tensors["pbc"].reshape(3)
        result: dict[str, Array] = {key: value for key, value in sample.items() if key not in dropped}
        targets = dict(result.get("targets", {}))
        for key, value in tensors.items():
            if key in targets and key not in result:
                targets[key] = value
            else:
                result[key] = value
        if "targets" in result:
            result["targets"] = targets
        return with_keys(result, {})

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _names(backend: Library, argument: str, keys: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(keys, str):
        raise ValueError(f"{argument} must be a list of keys, got the string {keys!r}. Pass [{keys!r}].")
    names = tuple(keys or ())
    for name in names:
        reason = graph_libraries.reason_against(backend, name)
        if reason is not None:
            raise ValueError(f"{argument} contains {name!r}, but {reason}")
    return names


def _find(sample: Mapping[str, Array], kind: str, key: str) -> Array:
    if key in sample:
        return sample[key]
    targets = sample.get("targets", {})
    if key in targets:
        return exact(targets[key])
    raise ValueError(f"{kind} key {key!r} is missing in the sample and in its 'targets'")


def rows_of(sample: Mapping[str, Array], kind: str, key: str, num_rows: int) -> torch.Tensor:
    """Return the value of a node or edge key, from the sample or its ``targets``, as a tensor.

    Raises
    ------
    ValueError
        If the key is missing, or has the wrong number of rows.
    """
    value = _find(sample, kind, key)
    if isinstance(value, str):
        raise ValueError(f"{kind} key {key!r} is of type str, expected an array with {num_rows} rows")
    tensor = torch.as_tensor(value)
    if tensor.ndim == 0 or len(tensor) != num_rows:
        raise ValueError(
            f"{kind} key {key!r} has shape {list(tensor.shape)}, expected {num_rows} rows, one per {kind}"
        )
    return tensor


def _whole(value: Array) -> Array:
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic, float, int)):
        return torch.atleast_1d(torch.as_tensor(value))
    return value
