"""Add one node that represents all atoms below the surface."""

from __future__ import annotations

import torch
from mml_samples import Sample

from mml_graphs._repr import pasteable_repr
from mml_graphs.transforms._edge_geometry import GRAPH_SUPER_NODE, SUBSURFACE
from mml_graphs.transforms._errors import naming
from mml_graphs.transforms._rewiring import graph_with_tags
from mml_graphs.transforms._super_nodes import SuperNode, with_super_nodes


class GraphSuperNodes:
    """Add one node that represents all atoms with tag 0 (below the surface) and is connected to every atom.

    The new node comes last. Its tag is 3, its atomic number is ``atom_max_embed_index``, and its ``fixed`` is
    1. In every float array (``pos``, ``force``, ...), its value is the mean over the atoms with tag 0. Edges
    connect it to every other node in both directions, each by the nearest periodic image. They follow the
    existing edges, which are kept. Arrays and targets of the sample with one row per atom or edge get the
    same new rows.

    Apply this transform before `RemoveTagZeroNodes`. The method is that of Duval et al., "PhAST", 2022.

    Parameters
    ----------
    atom_max_embed_index
        Atomic number of the node: an index of the model's embedding that no element uses.

    Raises
    ------
    ValueError
        If the sample does not have a graph of one structure with tags, no atom has tag 0, or the graph
        already has super nodes. The message names the sample and the key.
    """

    is_random = False

    def __init__(self, atom_max_embed_index: int) -> None:
        if type(atom_max_embed_index) is not int or atom_max_embed_index < 1:
            raise ValueError(f"atom_max_embed_index must be a positive integer, got {atom_max_embed_index!r}")
        self.atom_max_embed_index = atom_max_embed_index

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with the new node."""
        with naming(sample):
            data, tags = graph_with_tags(sample)
            if (tags >= GRAPH_SUPER_NODE).any():
                raise ValueError(
                    "'tags' already contains 3 or 4, the tags of super nodes. Apply GraphSuperNodes first."
                )
            node = SuperNode(
                GRAPH_SUPER_NODE,
                self.atom_max_embed_index,
                members=torch.nonzero(tags == SUBSURFACE)[:, 0],
                neighbors=torch.arange(len(tags), device=tags.device),
            )
            return with_super_nodes(sample, data, tags, [node])

    def __repr__(self) -> str:
        return pasteable_repr(self)
