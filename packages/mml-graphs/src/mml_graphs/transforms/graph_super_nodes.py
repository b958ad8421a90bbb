"""One node that stands for all atoms below the surface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mml_graphs._repr import pasteable_repr
from mml_graphs.transforms._edge_geometry import GRAPH_SUPER_NODE, SUBSURFACE
from mml_graphs.transforms._errors import naming
from mml_graphs.transforms._rewiring import graph_with_tags
from mml_graphs.transforms._super_nodes import SuperNode, with_super_nodes


class GraphSuperNodes:
    """Add one node that stands for all atoms with tag 0 (below the surface), connected to every atom.

    The node comes last. Its tag is 3, its atomic number ``atom_max_embed_index``, its ``fixed`` 1; every
    float array (``pos``, ``force``, ...) has the mean over the atoms with tag 0. Edges lead from it to every
    other node and back, each to the nearest periodic image, and come after the edges that were there, which
    stay. What the sample holds beside the graph for each atom and edge, targets included, gets the same
    rows.

    Run it before `RemoveTagZeroNodes`. After Duval et al., "PhAST", 2022.

    Parameters
    ----------
    atom_max_embed_index
        The atomic number of the node: an index that the model's embedding has for no element.

    Raises
    ------
    ValueError
        If there is no graph of one structure with tags, no atom with tag 0, or there are super nodes
        already; the message names the sample and the key.
    """

    is_random = False

    def __init__(self, atom_max_embed_index: int) -> None:
        if type(atom_max_embed_index) is not int or atom_max_embed_index < 1:
            raise ValueError(f"atom_max_embed_index is {atom_max_embed_index!r}, expected a positive integer")
        self.atom_max_embed_index = atom_max_embed_index

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the sample with the node."""
        with naming(sample):
            data, tags = graph_with_tags(sample)
            if (tags >= GRAPH_SUPER_NODE).any():
                raise ValueError(
                    "'tags' holds 3 or 4: there are super nodes already; GraphSuperNodes comes first"
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
