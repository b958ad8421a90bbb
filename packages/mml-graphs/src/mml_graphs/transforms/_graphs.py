"""Change the atoms of a sample together with those of its graph, independent of the graph library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from mml_samples import Array, Graph, Sample

from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.libraries.graph_libraries import Library, build, library_of, take_apart
from mml_graphs.sample import with_keys
from mml_graphs.transforms._arrays import positions

Change = Callable[[Mapping[str, Array]], dict[str, torch.Tensor]]


def _nothing(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {}


def update_graph(
    graph: Graph, nodes: Change = _nothing, edges: Change = _nothing, whole: Change = _nothing
) -> Graph:
    """Return a new graph with some arrays replaced or added. The given graph is not changed.

    Parameters
    ----------
    graph
        Graph of one structure.
    nodes, edges, whole
        Functions that map the arrays of the atoms, the edges and the structure, by name, to the new arrays.

    Raises
    ------
    ValueError
        If the object is not a graph, or is a batch of several graphs.
    """
    data = take_apart(graph)
    changed = data._replace(
        nodes={**data.nodes, **nodes(data.nodes)},
        edges={**data.edges, **edges(data.edges)},
        whole={**data.whole, **whole(data.whole)},
    )
    return rebuilt(graph, changed)


def rebuilt(graph: Graph, data: GraphData) -> Graph:
    """Build a graph of the same library as another graph.

    Parameters
    ----------
    graph
        Graph whose library is used.
    data
        Parts of the new graph.
    """
    return build(cast(Library, library_of(graph)), data)


def atoms_of(sample: Mapping[str, Array], key: str) -> Mapping[str, Array]:
    """Return the node arrays of the graph if they contain the key, and the sample otherwise.

    Raises
    ------
    ValueError
        If ``graph`` is not a graph of one structure.
    """
    if "graph" in sample:
        nodes = take_apart(sample["graph"]).nodes
        if key in nodes:
            return nodes
    return sample


def change_atoms(sample: Mapping[str, Array], key: str, change: Change) -> Sample:
    """Return a copy of the sample with changed atoms, in the graph and in the sample.

    Parameters
    ----------
    sample
        Sample with or without a graph. It is not changed.
    key
        Key that the change needs. The change applies to the graph, the sample, or both, if they have this
        key.
    change
        Function that maps the arrays of the atoms, by name, to the new arrays.

    Raises
    ------
    ValueError
        If neither the sample nor its graph has the key, or ``graph`` is not a graph of one structure.
    """
    result: dict[str, Array] = {}
    holder = atoms_of(sample, key)
    if holder is not sample:
        result["graph"] = update_graph(sample["graph"], nodes=change)
    if holder is sample or key in sample:
        if key not in sample:
            if key != "pos":
                raise ValueError(f"{key!r} is missing in the sample and in its graph")
            sample = {**sample, key: positions(sample)}
        result |= change(sample)
    return with_keys(sample, result)
