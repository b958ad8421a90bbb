"""Drop the atoms below the surface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mml_graphs._repr import pasteable_repr
from mml_graphs.transforms._errors import naming
from mml_graphs.transforms._rewiring import Rewiring, graph_with_tags, rewired_graph, rewired_sample


class RemoveTagZeroNodes:
    """Drop the atoms with tag 0 (below the surface), and every edge that has one as an end.

    The other edges stay, in their order, with their ``images`` and ``offsets``. What the sample holds beside
    the graph for each atom and edge, targets included, is dropped with them. The tags are those of the Open
    Catalyst data sets; the strategy is that of Duval et al., "PhAST: Physics-Aware, Scalable, and
    Task-specific GNNs for Accelerated Catalyst Design", 2022.

    Parameters
    ----------
    overwrite
        Put the smaller graph in place of ``graph``; else beside it, as ``subgraph``, and leave all else as
        it is.

    Raises
    ------
    ValueError
        If there is no graph of one structure with tags, no atom with tag 0, or no other; the message names
        the sample.
    """

    is_random = False

    def __init__(self, overwrite: bool = True) -> None:
        self.overwrite = overwrite

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the sample with the smaller graph."""
        with naming(sample):
            data, tags = graph_with_tags(sample)
            stay = tags != 0
            if not stay.any():
                raise ValueError("all atoms have tag 0, so none would stay")
            index = torch.cumsum(stay, 0) - 1
            edges = stay[data.src] & stay[data.dst]
            rewiring = Rewiring(
                nodes=lambda _, rows: rows[stay],
                edges=lambda _, rows: rows[edges],
                src=index[data.src[edges]],
                dst=index[data.dst[edges]],
                n_atoms=int(stay.sum()),
            )
            if self.overwrite:
                return rewired_sample(sample, data, rewiring)
            return {**sample, "subgraph": rewired_graph(sample["graph"], data, rewiring)}

    def __repr__(self) -> str:
        return pasteable_repr(self)
