"""Any function of atoms and edges as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mml_models.batch import read_graph
from mml_models.edges import edges_within
from mml_models.embeddings import Embeddings
from mml_models.encoder import check_cutoff_and_reduction, check_radius, pool, positive

AtomFunction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class GenericEncoder(nn.Module):
    """Wraps a function of ``(z, pos, edge_index, edge_vectors, batch)`` that embeds atoms.

    The function gets `z` [N] int64, `pos` [N, 3], `edge_index` [2, E] (centre and neighbour of each edge
    within the cutoff), `edge_vectors` [E, 3] (from the centre to the image of the neighbour, angstrom, with
    gradients to positions and strain) and `batch` [N] int64 (the structure of each atom). It returns [N,
    output_dim].

    Use the edge vectors, not differences of `pos`, which know nothing of periodic images. Make messages
    vanish smoothly at the cutoff: `mml_models.testing.check_encoder` looks at that and at the symmetries.

    Parameters
    ----------
    fn
        The function; a `torch.nn.Module` has its parameters trained.
    output_dim
        The length of the vectors that `fn` returns.
    cutoff
        Angstrom; edges as long as this or longer are not handed on.
    reduction
        How atoms are pooled into `system_embedding`: "sum" or "mean".

    Raises
    ------
    ValueError
        Where an option cannot be.
    """

    def __init__(
        self,
        fn: nn.Module | AtomFunction,
        output_dim: int,
        cutoff: float = 5.0,
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        positive(output_dim=output_dim)
        check_cutoff_and_reduction(cutoff, reduction)
        self.fn = fn
        self.output_dim = output_dim
        self.cutoff = float(cutoff)
        self.reduction = reduction

    def forward(self, batch: Mapping[str, Any]) -> Embeddings:
        """Embed a batch of B structures with N atoms in all.

        Raises
        ------
        ValueError
            Where the graph is incomplete or was built with a radius below the cutoff, or where `fn` returns
            something else than [N, output_dim].
        TypeError
            Where the graph is of no library that is known.
        """
        graph = read_graph(batch)
        check_radius(batch, self.cutoff)
        edges = edges_within(graph, self.cutoff, graph.pos.dtype)
        index = torch.stack((edges.centre, edges.neighbour))
        points = self.fn(graph.atomic_numbers, graph.pos, index, edges.vectors, graph.structure)
        expected = (graph.atomic_numbers.shape[0], self.output_dim)
        if not isinstance(points, Tensor) or points.shape != expected:
            found = f"shape {[*points.shape]}" if isinstance(points, Tensor) else type(points).__name__
            raise ValueError(
                f"The function of GenericEncoder returned {found}, not a tensor of shape {[*expected]}, one "
                "row of output_dim numbers an atom."
            )
        return Embeddings(pool(points, graph, self.reduction), points)
