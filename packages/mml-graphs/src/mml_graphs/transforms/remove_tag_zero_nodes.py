"""Remove the atoms below the surface."""

from __future__ import annotations

import torch
from mml_samples import Sample

from mml_graphs._repr import pasteable_repr
from mml_graphs.sample import with_keys
from mml_graphs.transforms._errors import naming
from mml_graphs.transforms._rewiring import Rewiring, graph_with_tags, rewired_graph, rewired_sample


class RemoveTagZeroNodes:
    """Remove the atoms with tag 0 (below the surface), and all of their edges.

    The other edges are kept in order, with their ``images`` and ``offsets``. Arrays and targets of the sample
    with one row per atom or edge are reduced in the same way. The tags are those of the Open Catalyst data
    sets. The strategy is that of Duval et al., "PhAST: Physics-Aware, Scalable, and Task-specific GNNs for
    Accelerated Catalyst Design", 2022.

    Parameters
    ----------
    overwrite
        If ``True``, the smaller graph replaces ``graph``. If ``False``, it is added as ``subgraph``, and
        nothing else is changed.

    Raises
    ------
    ValueError
        If the sample does not have a graph of one structure with tags, or none or all of its atoms have tag
        0. The message names the sample.
    """

    is_random = False

    def __init__(self, overwrite: bool = True) -> None:
        self.overwrite = overwrite

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with the smaller graph."""
        with naming(sample):
            data, tags = graph_with_tags(sample)
            stay = tags != 0
            if not stay.any():
                raise ValueError("all atoms have tag 0, expected at least one other tag")
            index = torch.cumsum(stay, 0) - 1
            edges = stay[data.src] & stay[data.dst]
            rewiring = Rewiring(
                nodes=lambda _, rows: rows[stay],
                edges=lambda _, rows: rows[edges],
                src=index[data.src[edges]],
                dst=index[data.dst[edges]],
                num_atoms=int(stay.sum()),
            )
            if self.overwrite:
                return rewired_sample(sample, data, rewiring)
            return with_keys(sample, {"subgraph": rewired_graph(sample["graph"], data, rewiring)})

    def __repr__(self) -> str:
        return pasteable_repr(self)
