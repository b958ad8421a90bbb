"""What a transform does to the atoms of a sample and to those of its graph, whatever library that is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch

from mml_graphs.graph_data import GraphData
from mml_graphs.graph_libraries import Library, build, library_of, take_apart
from mml_graphs.transforms._arrays import positions

Change = Callable[[Mapping[str, Any]], dict[str, torch.Tensor]]


def _nothing(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {}


def update_graph(
    graph: Any, nodes: Change = _nothing, edges: Change = _nothing, whole: Change = _nothing
) -> Any:
    """Return a new graph with some arrays replaced or added; the one that is given stays.

    Parameters
    ----------
    graph
        A graph of one structure.
    nodes, edges, whole
        From the arrays of the atoms, the edges and the structure, by name, to those that are new.

    Raises
    ------
    ValueError
        If it is no graph, or a batch of several.
    """
    data = take_apart(graph)
    changed = data._replace(
        nodes={**data.nodes, **nodes(data.nodes)},
        edges={**data.edges, **edges(data.edges)},
        whole={**data.whole, **whole(data.whole)},
    )
    return rebuilt(graph, changed)


def rebuilt(graph: Any, data: GraphData) -> Any:
    """Build a graph of the library that another is of.

    Parameters
    ----------
    graph
        A graph that was taken apart.
    data
        The parts of the new one.
    """
    return build(cast(Library, library_of(graph)), data)


def atoms_of(sample: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the node arrays of the graph where it holds the key, else the sample.

    Raises
    ------
    ValueError
        If ``graph`` is no graph of one structure.
    """
    if "graph" in sample:
        nodes = take_apart(sample["graph"]).nodes
        if key in nodes:
            return nodes
    return sample


def change_atoms(sample: Mapping[str, Any], key: str, change: Change) -> dict[str, Any]:
    """Return a copy of the sample with a change to the atoms, in the graph and in the sample.

    Parameters
    ----------
    sample
        A sample, with or without a graph; it is not changed.
    key
        What the change needs; it is made wherever this is.
    change
        From arrays of the atoms by name to those that are new.

    Raises
    ------
    ValueError
        If neither has the key, or ``graph`` is no graph of one structure.
    """
    result = dict(sample)
    holder = atoms_of(sample, key)
    if holder is not sample:
        result["graph"] = update_graph(sample["graph"], nodes=change)
    if holder is sample or key in sample:
        if key not in sample:
            if key != "pos":
                raise ValueError(f"{key!r} is missing; it is neither in the sample nor in its graph")
            sample = {**sample, key: positions(sample)}
            result[key] = sample[key]
        result |= change(sample)
    return result
