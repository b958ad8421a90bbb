"""Add one node for each element below the surface."""

from __future__ import annotations

import torch
from mml_samples import Sample

from mml_graphs._repr import pasteable_repr
from mml_graphs.transforms._edge_geometry import ATOMIC_SUPER_NODE, GRAPH_SUPER_NODE, SUBSURFACE
from mml_graphs.transforms._errors import naming
from mml_graphs.transforms._rewiring import graph_with_tags
from mml_graphs.transforms._super_nodes import SuperNode, with_super_nodes


class AtomicSuperNodes:
    """Add one node for each element among the atoms with tag 0 (below the surface).

    The new nodes come last, in order of atomic number. Their tag is 4, and their ``fixed`` is 1. In every
    float array (``pos``, ``force``, ...), their value is the mean over the atoms of the element with tag 0.
    Their atomic number is ``atom_max_embedding`` plus that of the element, plus one if `GraphSuperNodes` was
    applied before.

    Each new node is connected, in both directions and by the nearest periodic image, to every atom that
    shares an edge with one of the atoms that it represents. These edges follow the existing edges, which are
    kept. Arrays and targets of the sample with one row per atom or edge get the same new rows.

    Apply this transform before `RemoveTagZeroNodes` and after `GraphSuperNodes`. The method is that of Duval
    et al., "PhAST", 2022.

    Parameters
    ----------
    atom_max_embedding
        Number that is added to the atomic number: the largest index of an element in the model's embedding.

    Raises
    ------
    ValueError
        If the sample does not have a graph of one structure with tags, no atom has tag 0, or the graph
        already has such nodes. The message names the sample and the key.
    """

    is_random = False

    def __init__(self, atom_max_embedding: int) -> None:
        if type(atom_max_embedding) is not int or atom_max_embedding < 1:
            raise ValueError(f"atom_max_embedding must be a positive integer, got {atom_max_embedding!r}")
        self.atom_max_embedding = atom_max_embedding

    def super_atom_embedding(self, atomic_number: int, graph_super_node: bool) -> int:
        """Return the atomic number of the node that represents an element."""
        return self.atom_max_embedding + atomic_number + int(graph_super_node)

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with the new nodes."""
        with naming(sample):
            data, tags = graph_with_tags(sample)
            if (tags == ATOMIC_SUPER_NODE).any():
                raise ValueError("'tags' already contains 4, the tag of atomic super nodes")
            graph_super_node = bool((tags == GRAPH_SUPER_NODE).any())
            numbers = data.nodes["atomic_numbers"]
            atoms = tags < GRAPH_SUPER_NODE
            added = []
            for number in numbers[tags == SUBSURFACE].unique().tolist():
                member = (tags == SUBSURFACE) & (numbers == number)
                near = torch.zeros_like(member)
                near[data.dst[member[data.src]]] = True
                near[data.src[member[data.dst]]] = True
                added.append(
                    SuperNode(
                        ATOMIC_SUPER_NODE,
                        self.super_atom_embedding(number, graph_super_node),
                        members=torch.nonzero(member)[:, 0],
                        neighbors=torch.nonzero(near & atoms)[:, 0],
                    )
                )
            return with_super_nodes(sample, data, tags, added)

    def __repr__(self) -> str:
        return pasteable_repr(self)
