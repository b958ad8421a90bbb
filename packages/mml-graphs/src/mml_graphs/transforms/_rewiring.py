"""Change the atoms or edges of a graph, and the sample together with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from mml_samples import Array, Graph, Sample

from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.sample import with_keys
from mml_graphs.transforms._arrays import tensor
from mml_graphs.transforms._graphs import rebuilt

# Keys of the sample contract with one row per atom or edge. A graph may have more or fewer keys.
ATOM_KEYS = frozenset({"atomic_numbers", "pos", "frac_coords", "tags", "fixed", "noisy_pos", "fa_pos"})
EDGE_KEYS = frozenset({"images", "offsets", "unit_offsets", "distances", "r", "mu"})

Rows = Callable[[str, torch.Tensor], torch.Tensor]


class Rewiring(NamedTuple):
    """Change of the rows of a graph.

    Attributes
    ----------
    nodes, edges
        Functions that map the name of an array and its old rows to its new rows.
    src, dst
        [E] each, the new edges.
    num_atoms
        New number of nodes.
    """

    nodes: Rows
    edges: Rows
    src: torch.Tensor
    dst: torch.Tensor
    num_atoms: int


def graph_with_tags(sample: Sample) -> tuple[GraphData, torch.Tensor]:
    """Return the parts of a sample's graph, and the tags of its atoms from the graph or the sample.

    Raises
    ------
    ValueError
        If the sample does not have a graph of one structure with positions and atomic numbers, there are no
        tags, or no atom has tag 0.
    """
    data = graph_of(sample)
    for key in ("atomic_numbers", "pos"):
        if key not in data.nodes:
            raise ValueError(f"the graph has no node key {key!r}, only {sorted(data.nodes)}")
    tags = tags_of(sample, data)
    if tags is None:
        raise ValueError(
            "'tags' [N] of the graph is missing (0 below the surface, 1 surface, 2 adsorbate). "
            "Add it with PointCloudToGraphTransform(node_keys=['tags'])."
        )
    if not (tags == 0).any():
        raise ValueError(
            f"'tags' must contain 0, the tag of atoms below the surface, got {sorted(set(tags.tolist()))}. "
            "Apply this transform only to slabs, and before RemoveTagZeroNodes."
        )
    return data, tags


def tags_of(sample: Sample, data: GraphData) -> torch.Tensor | None:
    """Return the tags [N] of the graph or, if it has none, of the sample. ``None`` if neither has tags.

    Raises
    ------
    ValueError
        If the number of tags differs from the number of atoms.
    """
    if "tags" not in data.nodes and "tags" not in sample:
        return None
    tags = data.nodes["tags"] if "tags" in data.nodes else tensor("tags", sample["tags"])
    if tags.shape != (data.num_nodes,):
        raise ValueError(f"'tags' has shape {list(tags.shape)}, expected [{data.num_nodes}]")
    return tags


def graph_of(sample: Sample) -> GraphData:
    """Take the graph of a sample apart.

    Raises
    ------
    ValueError
        If the sample does not have a graph of one structure.
    """
    if "graph" not in sample:
        raise ValueError("'graph' is missing. Apply PointCloudToGraphTransform first.")
    return take_apart(sample["graph"])


def rewired_graph(graph: Graph, data: GraphData, rewiring: Rewiring) -> Graph:
    """Return a new graph of the same library with changed rows.

    Parameters
    ----------
    graph
        Graph with the parts ``data``. It is not changed.
    data
        Parts of the graph.
    rewiring
        Change of the rows.
    """
    whole = dict(data.whole)
    if "natoms" in whole:
        whole["natoms"] = torch.full_like(torch.as_tensor(whole["natoms"]), rewiring.num_atoms)
    changed = GraphData(
        nodes={key: rewiring.nodes(key, value) for key, value in data.nodes.items()},
        edges={key: rewiring.edges(key, value) for key, value in data.edges.items()},
        src=rewiring.src,
        dst=rewiring.dst,
        whole=whole,
        num_nodes=rewiring.num_atoms,
    )
    return rebuilt(graph, changed)


def rewired_sample(sample: Sample, data: GraphData, rewiring: Rewiring) -> Sample:
    """Return a copy of the sample with changed rows in its graph, its arrays and its targets.

    The change applies to the graph, to arrays of the sample that have one row per atom or edge according to
    the sample contract or the graph, to ``src_nodes``, ``dst_nodes`` and ``natoms``, and to targets with one
    row per atom.

    Parameters
    ----------
    sample
        Sample with a graph. It is not changed.
    data
        Parts of the graph.
    rewiring
        Change of the rows.
    """
    result: dict[str, Array] = {"graph": rewired_graph(sample["graph"], data, rewiring)}
    for key, value in sample.items():
        if key in ATOM_KEYS or key in data.nodes:
            result[key] = rewiring.nodes(key, _rows(key, value, data.num_nodes))
        elif key in EDGE_KEYS or key in data.edges:
            result[key] = rewiring.edges(key, _rows(key, value, data.num_edges))
    if "src_nodes" in sample:
        result |= {"src_nodes": rewiring.src, "dst_nodes": rewiring.dst}
    if "natoms" in sample:
        result["natoms"] = torch.full_like(torch.as_tensor(sample["natoms"]), rewiring.num_atoms)
    if "targets" in sample:
        result["targets"] = {
            key: rewiring.nodes(key, tensor(key, value)) if _of_atoms(value, data.num_nodes) else value
            for key, value in sample["targets"].items()
        }
    return with_keys(sample, result)


def _rows(key: str, value: Array, num_rows: int) -> torch.Tensor:
    array = tensor(key, value)
    if array.ndim == 0 or len(array) != num_rows:
        raise ValueError(
            f"{key!r} has shape {list(array.shape)} in the sample, expected {num_rows} rows as in the graph"
        )
    return array


def _of_atoms(value: Array, num_atoms: int) -> bool:
    """Return whether a target has one row per atom. The first dimension of all other targets is 1."""
    if not isinstance(value, (torch.Tensor, np.ndarray, list)):
        return False
    shape = np.shape(value) if not isinstance(value, torch.Tensor) else value.shape
    return len(shape) > 0 and shape[0] == num_atoms and (num_atoms > 1 or len(shape) > 1)
