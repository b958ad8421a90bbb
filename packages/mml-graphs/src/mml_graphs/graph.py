"""Samples to graphs of a graph library, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mml_graphs import graph_libraries
from mml_graphs._labels import exact
from mml_graphs._repr import pasteable_repr
from mml_graphs.edges import GRAPH_KEYS, graph_parts, is_periodic
from mml_graphs.graph_data import EDGE_KEYS, GraphData
from mml_graphs.graph_libraries import Library
from mml_graphs.neighbors import check_cutoff
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.sample import sample_name


class PointCloudToGraphTransform:
    """Put a graph of a graph library beside the sample's keys, under ``graph``.

    The edges of the sample are used where it has them. A sample without any gets those within
    ``cutoff_dist`` if it is not periodic; a periodic one is refused, because `PeriodicPropertiesTransform`
    is to find its edges.

    A graph holds ``atomic_numbers`` [N], ``pos`` [N, 3], ``offsets``, ``images`` [E, 3], ``distances`` [E],
    ``cell`` [1, 3, 3], ``pbc`` [1, 3], ``natoms`` [1], and the keys asked for. A PyG graph has each under its
    name, and ``edge_index`` [2, E] (source, destination). A DGL graph has the nodes in ``ndata``, the edges,
    from source to destination, in ``edata``, and what belongs to the whole in ``ndata`` as ``whole.cell``
    [N, 1, 3, 3], ``whole.pbc``, ``whole.natoms``, the same for each node: DGL has no other place that
    ``dgl.batch`` keeps.

    Parameters
    ----------
    backend
        Graph library: ``"pyg"`` or ``"dgl"``.
    cutoff_dist
        Largest distance for samples without edges and without periodicity, angstrom.
    node_keys
        Further keys of the sample, or of its ``targets``, with N rows.
    edge_keys
        Further keys of the sample with E rows, for example ``"unit_offsets"``.
    graph_keys
        Further keys of the sample, or of its ``targets``, that belong to the structure as a whole; a number
        becomes a tensor [1]. DGL holds tensors only.

    Raises
    ------
    ValueError
        On an unknown backend, a key that is missing or has a wrong number of rows, or a periodic sample
        without edges.
    ImportError
        If the graph library is not installed; the message holds the install command.
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

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the sample with its graph."""
        if "src_nodes" in sample and "dst_nodes" in sample:
            result = dict(sample)
        elif is_periodic(sample):
            raise ValueError(
                f"{sample_name(sample)}: it is periodic and has no edges ('src_nodes', 'dst_nodes'); "
                "put PeriodicPropertiesTransform before PointCloudToGraphTransform"
            )
        else:
            result = PeriodicPropertiesTransform(self.cutoff_dist, on_isolated="allow")(sample)
        try:
            result["graph"] = graph_libraries.build(self.backend, self._parts(result))
        except ValueError as error:
            raise ValueError(f"{sample_name(sample)}: {error}") from error
        return result

    def _parts(self, sample: Mapping[str, Any]) -> GraphData:
        parts = graph_parts(sample)
        for key in self.node_keys:
            if key not in GRAPH_KEYS:
                parts.nodes[key] = rows_of(sample, "node", key, parts.n_nodes)
        for key in self.edge_keys:
            if key not in GRAPH_KEYS:
                parts.edges[key] = rows_of(sample, "edge", key, parts.n_edges)
        for key in self.graph_keys:
            if key not in GRAPH_KEYS:
                parts.whole[key] = _whole(_find(sample, "graph", key))
        return parts

    def __repr__(self) -> str:
        return pasteable_repr(self)


class GraphToPointCloudTransform:
    """Turn the graph of a sample into the keys of the sample contract, and drop the graph.

    Every array of the graph comes back under its own name, in place of what the sample or its ``targets``
    hold under that name; the ends of the edges are ``src_nodes`` and ``dst_nodes``. Any graph will do,
    whoever made it. `PointCloudToGraphTransform` gives the graph again, where its keys name what the graph
    held beyond the usual.

    Parameters
    ----------
    backend
        Graph library: ``"pyg"`` or ``"dgl"``.
    full_pairwise
        Keep what belongs to pairs of atoms: ``src_nodes``, ``dst_nodes`` and every array with a row for each
        edge. False leaves them out, those of the sample too: what remains grows with the atoms only, and
        `PeriodicPropertiesTransform` finds the pairs again. (The older toolkit kept a random part of the
        pairs with False. No random choice is made here.)

    Raises
    ------
    ValueError
        On an unknown backend, or a sample without one graph of that library.
    """

    is_random = False

    def __init__(self, backend: Library = "pyg", full_pairwise: bool = True) -> None:
        graph_libraries.check_library(backend)
        self.backend = backend
        self.full_pairwise = full_pairwise

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the sample with the graph's arrays in place of the graph."""
        graph = sample.get("graph")
        try:
            library = graph_libraries.library_of(graph)
            if library not in (None, self.backend):
                raise ValueError(
                    f"'graph' is of {library!r}, expected one of {self.backend!r}; say backend={library!r}"
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
        result = {key: value for key, value in sample.items() if key not in dropped}
        targets = dict(result.get("targets", {}))
        for key, value in tensors.items():
            if key in targets and key not in result:
                targets[key] = value
            else:
                result[key] = value
        if "targets" in result:
            result["targets"] = targets
        return result

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _names(backend: Library, argument: str, keys: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(keys, str):
        raise ValueError(f"{argument} is the string {keys!r}, expected a list of keys: [{keys!r}]")
    names = tuple(keys or ())
    for name in names:
        reason = graph_libraries.reason_against(backend, name)
        if reason is not None:
            raise ValueError(f"{argument} has {name!r}, but {reason}")
    return names


def _find(sample: Mapping[str, Any], kind: str, key: str) -> Any:
    if key in sample:
        return sample[key]
    targets = sample.get("targets", {})
    if key in targets:
        return exact(targets[key])
    raise ValueError(f"{kind} key {key!r} is missing; it is neither in the sample nor in its 'targets'")


def rows_of(sample: Mapping[str, Any], kind: str, key: str, n_rows: int) -> torch.Tensor:
    """Return a key of a sample, or of its ``targets``, that has a row for each node or each edge.

    Raises
    ------
    ValueError
        If it is missing, or has another number of rows.
    """
    value = _find(sample, kind, key)
    if isinstance(value, str):
        raise ValueError(f"{kind} key {key!r} is a str, expected an array of {n_rows} rows")
    tensor = torch.as_tensor(value)
    if tensor.ndim == 0 or len(tensor) != n_rows:
        raise ValueError(
            f"{kind} key {key!r} has shape {list(tensor.shape)}, expected {n_rows} rows, one a {kind}"
        )
    return tensor


def _whole(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic, float, int)):
        return torch.atleast_1d(torch.as_tensor(value))
    return value
