"""Head that maps embeddings of atoms to one vector per atom, such as a force or a displacement."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import torch
from mml_samples import Graph
from torch import Tensor, nn

from mml_tasks.encoder import vector_dim
from mml_tasks.heads import OutputHead
from mml_tasks.tasks.edge_directions import edge_directions
from mml_tasks.tasks.vector_source import choose_source, edge_cutoff

VectorSource = Literal["auto", "encoder", "edges", "components"]


class VectorHead(nn.Module):
    r"""Map embeddings of N atoms to vectors [N, 3], in one of three ways.

    ``"encoder"``
        :math:`v_i = \sum_k a_k(h_i)\, V_{ik}` from the encoder's ``point_vectors`` V [N, K, 3]. Equivariant.
    ``"edges"``
        :math:`v_i = \sum_j a(h_i, h_j, d_{ij})\, u(d_{ij})\, r_{ij} / d_{ij}` over the edges of the graph,
        with ``a`` symmetric in its two atoms. Equivariant for encoders with invariant embeddings. The vectors
        of a structure sum to zero, as forces do. The derivative of an energy that depends only on distances
        has this form, :math:`a\,u = \partial E / \partial d_{ij}`. The envelope :math:`u = (1 - (d / c)^2)^3`
        vanishes at the cutoff c.
    ``"components"``
        Three numbers computed from each :math:`h_i`. Not equivariant. It requires encoders whose embeddings
        change when the structure is rotated; invariant embeddings contain no directions.

    Parameters
    ----------
    encoder
        Encoder of the embeddings. The head reads its ``vector_dim`` and ``cutoff``.
    width
        Width of the embeddings.
    source
        One of the above, or ``"auto"``: ``"encoder"`` if the encoder has a ``vector_dim``, else ``"edges"``.
    cutoff
        Cutoff c, in angstrom. Default: the ``cutoff`` of the encoder.
    num_radial
        Number of Gaussians in the expansion of a distance, evenly spaced up to the cutoff.
    **output_kwargs
        Arguments of `OutputHead`.

    Raises
    ------
    ValueError
        If ``source`` is unknown, or the encoder lacks the attribute that it needs.
    """

    centers: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
        source: VectorSource = "auto",
        cutoff: float | None = None,
        num_radial: int = 16,
        **output_kwargs: Any,
    ) -> None:
        super().__init__()
        vectors = vector_dim(encoder)
        self.source = choose_source(encoder, source, get_args(VectorSource))
        self.cutoff = edge_cutoff(encoder, cutoff) if self.source == "edges" else None
        widths = {"encoder": (width, vectors), "edges": (2 * width + num_radial, 1), "components": (width, 3)}
        self.network = OutputHead(*widths[self.source], **output_kwargs)
        self.register_buffer("centers", torch.linspace(0.0, 1.0, num_radial), persistent=False)

    def forward(self, points: Tensor, vectors: Tensor | None, graph: Graph) -> Tensor:
        """Return a vector for each atom, [N, 3].

        Parameters
        ----------
        points
            Embeddings of the atoms, [N, width].
        vectors
            Vectors of the encoder, [N, K, 3], or None.
        graph
            Graph with ``pos``, ``edge_index`` and optionally ``offsets``; used only if the source is
            ``"edges"``.
        """
        if self.source == "components":
            return self.network(points)
        if self.source == "edges":
            return self._along_edges(points, graph)
        if vectors is None:
            raise ValueError("vectors must not be None if the source is 'encoder'")
        return torch.einsum("nk,nkc->nc", self.network(points), vectors)

    def _along_edges(self, points: Tensor, graph: Graph) -> Tensor:
        edges = edge_directions(graph, cast("float", self.cutoff), self.centers)
        one, other = points[edges.center], points[edges.neighbor]
        features = torch.cat([one + other, one * other, edges.radial.to(points.dtype)], dim=-1)
        pulls = self.network(features) * edges.envelope * edges.unit
        return pulls.new_zeros(points.shape[0], 3).index_add(0, edges.center, pulls)
