"""Samples to graphs of a graph library, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from mml_graphs import pyg
from mml_graphs._repr import pasteable_repr
from mml_graphs.edges import GRAPH_KEYS, edge_tensors, is_periodic
from mml_graphs.neighbors import check_cutoff
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.sample import sample_name

GRAPH_BACKENDS = ("pyg",)


class PointCloudToGraphTransform:
    """Put a graph of a graph library beside the sample's keys, under ``graph``.

    The edges of the sample are used where it has them. A sample without any gets those within
    ``cutoff_dist`` if it is not periodic; a periodic one is refused, because `PeriodicPropertiesTransform`
    is to find its edges.

    A PyG graph holds ``atomic_numbers`` [N], ``pos`` [N, 3], ``edge_index`` [2, E] (source, destination),
    ``offsets``, ``images`` [E, 3], ``distances`` [E], ``cell`` [1, 3, 3], ``pbc`` [1, 3], ``natoms`` [1],
    and the keys asked for.

    Parameters
    ----------
    backend
        Graph library: ``"pyg"``.
    cutoff_dist
        Largest distance for samples without edges and without periodicity, angstrom.
    node_keys
        Further keys of the sample, or of its ``targets``, with N rows.
    edge_keys
        Further keys of the sample with E rows, for example ``"unit_offsets"``.

    Raises
    ------
    ValueError
        On an unknown backend, a key that is missing or has a wrong number of rows, or a periodic sample
        without edges.
    ImportError
        If the graph library is not installed; the message holds the install command.
    """

    def __init__(
        self,
        backend: Literal["pyg"] = "pyg",
        cutoff_dist: float = 7.0,
        node_keys: Sequence[str] = (),
        edge_keys: Sequence[str] = (),
    ) -> None:
        _check_graph_backend(backend)
        check_cutoff(cutoff_dist)
        self.backend = backend
        self.cutoff_dist = float(cutoff_dist)
        self.node_keys = _names("node_keys", node_keys)
        self.edge_keys = _names("edge_keys", edge_keys)

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
            tensors = edge_tensors(result)
            n_atoms, n_edges = len(tensors["atomic_numbers"]), len(tensors["distances"])
            for key in self.node_keys:
                if key not in GRAPH_KEYS:
                    tensors[key] = _rows(result, "node", key, n_atoms)
            for key in self.edge_keys:
                if key not in GRAPH_KEYS:
                    tensors[key] = _rows(result, "edge", key, n_edges)
        except ValueError as error:
            raise ValueError(f"{sample_name(sample)}: {error}") from error
        result["graph"] = pyg.build(tensors)
        return result

    def __repr__(self) -> str:
        return pasteable_repr(self)


class GraphToPointCloudTransform:
    """Turn the graph of a sample into the keys of the sample contract, and drop the graph.

    Every array of the graph comes back under its own name, in place of what the sample or its ``targets``
    hold under that name. `PointCloudToGraphTransform` with the same keys gives the graph again.

    Parameters
    ----------
    backend
        Graph library: ``"pyg"``.

    Raises
    ------
    ValueError
        On an unknown backend, or a sample without a graph of that library.
    ImportError
        If the graph library is not installed.
    """

    def __init__(self, backend: Literal["pyg"] = "pyg") -> None:
        _check_graph_backend(backend)
        self.backend = backend

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the sample with the graph's arrays in place of the graph."""
        try:
            tensors = pyg.take_apart(sample.get("graph"))
        except ValueError as error:
            raise ValueError(f"{sample_name(sample)}: {error}") from error
        result = {key: value for key, value in sample.items() if key != "graph"}
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


def _check_graph_backend(backend: str) -> None:
    if backend not in GRAPH_BACKENDS:
        raise ValueError(f"unknown graph backend {backend!r}; known: {', '.join(map(repr, GRAPH_BACKENDS))}")


def _names(argument: str, keys: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(keys, str):
        raise ValueError(f"{argument} is the string {keys!r}, expected a list of keys: [{keys!r}]")
    names = tuple(keys or ())
    for name in names:
        if "index" in name or "batch" in name or name in ("face", "ptr", "num_nodes"):
            raise ValueError(
                f"{argument} has {name!r}, but PyG gives such a name a meaning of its own; rename the key"
            )
    return names


def _rows(sample: Mapping[str, Any], kind: str, key: str, n_rows: int) -> torch.Tensor:
    targets = sample.get("targets", {})
    if key in sample:
        value = sample[key]
    elif key in targets:
        value = targets[key]
    else:
        raise ValueError(f"{kind} key {key!r} is missing; it is neither in the sample nor in its 'targets'")
    if isinstance(value, str):
        raise ValueError(f"{kind} key {key!r} is a str, expected an array of {n_rows} rows")
    tensor = torch.as_tensor(value)
    if tensor.ndim == 0 or len(tensor) != n_rows:
        raise ValueError(
            f"{kind} key {key!r} has shape {list(tensor.shape)}, expected {n_rows} rows, one a {kind}"
        )
    return tensor
