"""From embeddings of atoms to one vector for each: forces, or the noise of positions."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from mml_tasks.encoder import vector_dim
from mml_tasks.heads import OutputHead

VectorSource = Literal["auto", "encoder", "edges", "components"]


class VectorHead(nn.Module):
    r"""Map embeddings of N atoms to vectors [N, 3], in one of three ways.

    ``"encoder"``
        :math:`v_i = \sum_k a_k(h_i)\, V_{ik}` from the encoder's ``point_vectors`` V [N, K, 3]. Equivariant.
    ``"edges"``
        :math:`v_i = \sum_j a(h_i, h_j, d_{ij})\, u(d_{ij})\, r_{ij} / d_{ij}` over the edges of the graph,
        with ``a`` symmetric in its atoms. Equivariant for encoders whose embeddings are invariant, and the
        vectors of a structure add up to zero, as forces do. The derivative of an energy that is a function
        of distances has this form, :math:`a\,u = \partial E / \partial d_{ij}`. The envelope
        :math:`u = (1 - (d / c)^2)^3` ends at the cutoff c.
    ``"components"``
        Three numbers from each :math:`h_i`. Not equivariant, and of no use for invariant embeddings, which
        know no directions; for encoders whose embeddings change when the structure turns.

    Parameters
    ----------
    encoder
        What gives the embeddings; read for ``vector_dim`` and ``cutoff``.
    width
        Of the embeddings.
    source
        One of the above, or ``"auto"``: ``"encoder"`` where the encoder has a ``vector_dim``, else
        ``"edges"``.
    cutoff
        c, angstrom; default: the encoder's ``cutoff``.
    num_radial
        Number of Gaussians, evenly spaced up to the cutoff, that a distance is expanded in.
    **output_kwargs
        Of `OutputHead`.

    Raises
    ------
    ValueError
        If there is no such source, or what it needs from the encoder is not there.
    """

    centres: Tensor

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
        if source not in get_args(VectorSource):
            raise ValueError(f"vector_source must be one of {list(get_args(VectorSource))}, got {source!r}")
        who = f"the encoder {type(encoder).__name__}"
        vectors = vector_dim(encoder)
        self.source = source if source != "auto" else ("encoder" if vectors else "edges")
        cutoff = getattr(encoder, "cutoff", None) if cutoff is None else cutoff
        if self.source == "encoder" and not vectors:
            raise ValueError(
                f'vector_source="encoder" needs an encoder with a vector_dim, and {who} has none: take '
                '"edges"'
            )
        if self.source == "edges" and not (isinstance(cutoff, (int, float)) and cutoff > 0):
            raise ValueError(
                f'vector_source="edges" needs the length where edges end, and {who} has the cutoff {cutoff}: '
                "give vector_cutoff in angstrom"
            )
        self.cutoff = float(cutoff) if self.source == "edges" and cutoff is not None else None
        widths = {"encoder": (width, vectors), "edges": (2 * width + num_radial, 1), "components": (width, 3)}
        self.network = OutputHead(*widths[self.source], **output_kwargs)
        self.register_buffer("centres", torch.linspace(0.0, 1.0, num_radial), persistent=False)

    def forward(self, points: Tensor, vectors: Tensor | None, graph: Any) -> Tensor:
        """Return a vector for each atom, [N, 3].

        Parameters
        ----------
        points
            [N, width].
        vectors
            [N, K, 3] of the encoder, or None.
        graph
            Read for ``pos``, ``edge_index`` and ``offsets`` where the source is ``"edges"``.
        """
        if self.source == "components":
            return self.network(points)
        if self.source == "edges":
            return self._along_edges(points, graph)
        if vectors is None:
            raise ValueError("the head combines vectors of the encoder, and got none")
        return torch.einsum("nk,nkc->nc", self.network(points), vectors)

    def _along_edges(self, points: Tensor, graph: Any) -> Tensor:
        pos, edges = getattr(graph, "pos", None), getattr(graph, "edge_index", None)
        if pos is None or edges is None:
            raise ValueError(
                "the batch's graph has no 'pos' or no 'edge_index', along which vectors are predicted: make "
                "graphs with PeriodicPropertiesTransform and PointCloudToGraphTransform"
            )
        centre, neighbour = edges
        between = pos[neighbour] - pos[centre]
        if getattr(graph, "offsets", None) is not None:
            between = between + graph.offsets
        distance = between.norm(dim=-1, keepdim=True)
        scaled = distance / self.cutoff
        radial = torch.exp(-(((scaled - self.centres) * len(self.centres)) ** 2) / 2)
        one, other = points[centre], points[neighbour]
        features = torch.cat([one + other, one * other, radial.to(points.dtype)], dim=-1)
        coefficient = self.network(features) * (1 - scaled**2).clamp(min=0) ** 3
        pulls = coefficient * between / distance.clamp(min=1e-12)
        return pulls.new_zeros(points.shape[0], 3).index_add(0, centre, pulls)
