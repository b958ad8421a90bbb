"""Encoder that wraps a user-defined function of atoms and edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from mml_samples import Batch
from torch import Tensor, nn

from mml_models.batch import read_graph
from mml_models.embeddings import Embeddings
from mml_models.encoder import check_cutoff_and_reduction, check_radius, pool, positive
from mml_models.layers.edges import edges_within

AtomFunction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class GenericEncoder(nn.Module):
    """Encoder that wraps a function of ``(z, pos, edge_index, edge_vectors, batch)``.

    The function is called with these tensors and returns one vector per atom, [N, output_dim]:

    - `z`, [N] int64: atomic numbers,
    - `pos`, [N, 3]: positions, angstrom,
    - `edge_index`, [2, E] int64: center and neighbor of each edge within the cutoff,
    - `edge_vectors`, [E, 3]: vectors from the center to the image of the neighbor, angstrom, through which
      gradients reach positions and strain,
    - `batch`, [N] int64: index of the structure of each atom.

    Use `edge_vectors` instead of differences of `pos`, because those differences ignore periodic images. Make
    messages go to zero smoothly at the cutoff. `mml_models.testing.check_encoder` checks this and the
    symmetries.

    Parameters
    ----------
    fn
        The function. If it is a `torch.nn.Module`, its parameters are trained.
    output_dim
        Length of the vectors that `fn` returns.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer are not passed to `fn`.
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".

    Raises
    ------
    ValueError
        If `output_dim`, `cutoff` or `reduction` is invalid.
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

    def forward(self, batch: Batch) -> Embeddings:
        """Embed a batch of B structures with N atoms in total.

        Raises
        ------
        ValueError
            If the graph is incomplete or was built with a radius below the cutoff, or if `fn` does not return
            a tensor of shape [N, output_dim].
        TypeError
            If the batch is not a mapping, or the graph is not a PyG or DGL graph.
        """
        graph = read_graph(batch)
        check_radius(batch, self.cutoff)
        edges = edges_within(graph, self.cutoff, graph.pos.dtype)
        index = torch.stack((edges.center, edges.neighbor))
        points = self.fn(graph.atomic_numbers, graph.pos, index, edges.vectors, graph.structure)
        expected = (graph.atomic_numbers.shape[0], self.output_dim)
        if not isinstance(points, Tensor) or points.shape != expected:
            found = f"shape {[*points.shape]}" if isinstance(points, Tensor) else type(points).__name__
            raise ValueError(
                f"The function of GenericEncoder must return a tensor of shape {[*expected]}, one row of "
                f"output_dim numbers per atom, got {found}"
            )
        return Embeddings(pool(points, graph, self.reduction), points)
