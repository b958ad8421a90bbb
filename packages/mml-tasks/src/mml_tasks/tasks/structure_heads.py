"""Heads that map embeddings of atoms to each atom's share of a vector or tensor of the whole structure."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from mml_samples import Graph, atom_counts, structure_index
from torch import Tensor, nn

from mml_tasks.batches import sum_by_structure
from mml_tasks.encoder import vector_dim
from mml_tasks.heads import OutputHead
from mml_tasks.tasks.edge_directions import EdgeDirections, edge_directions
from mml_tasks.tasks.vector_source import choose_source, edge_cutoff

MomentSource = Literal["auto", "encoder", "edges", "charges"]


class _EdgeHead(nn.Module):
    """Coefficient of each directed edge, and the width of the Gaussians that it is computed from."""

    centers: Tensor

    def __init__(self, width: int, cutoff: float, num_radial: int, **output_kwargs: Any) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.network = OutputHead(2 * width + num_radial, 1, **output_kwargs)
        self.register_buffer("centers", torch.linspace(0.0, 1.0, num_radial), persistent=False)

    def forward(self, points: Tensor, graph: Graph) -> tuple[EdgeDirections, Tensor]:
        """Return the edges, and their coefficients times the envelope, [E, 1]."""
        edges = edge_directions(graph, self.cutoff, self.centers)
        features = torch.cat(
            [points[edges.center], points[edges.neighbor], edges.radial.to(points.dtype)], dim=-1
        )
        return edges, self.network(features) * edges.envelope


class VectorMomentHead(nn.Module):
    r"""Map embeddings of N atoms to their shares of a structure's vector, such as a dipole moment, [N, 3].

    ``"encoder"``
        :math:`v_i = \sum_k a_k(h_i)\, V_{ik}` from the encoder's ``point_vectors`` V [N, K, 3].
    ``"edges"``
        :math:`v_i = \sum_j a(h_i, h_j, d_{ij})\, u(d_{ij})\, r_{ij} / d_{ij}`: a moment of each bond. ``a``
        differs between the two directions of an edge, so that bonds between unlike atoms are polar.
    ``"charges"``
        :math:`v_i = (q_i - \bar q)\, r_i` with a charge :math:`q_i = a(h_i)` of each atom. The mean charge of
        the structure is subtracted, which makes it neutral and the moment independent of the origin. Only for
        molecules, because the moment of a periodic structure depends on the choice of its cell. This is the
        dipole moment of Unke and Meuwly, "PhysNet" (J. Chem. Theory Comput. 15, 3678, 2019, equation 8).

    In each case, the vectors rotate with the structure if the embeddings are invariant.

    Parameters
    ----------
    encoder
        Encoder of the embeddings. The head reads its ``vector_dim`` and ``cutoff``.
    width
        Width of the embeddings.
    source
        One of the above, or ``"auto"``: ``"encoder"`` if the encoder has a ``vector_dim``, else ``"edges"``.
    cutoff
        Cutoff of the edges, in angstrom. Default: the ``cutoff`` of the encoder.
    num_radial
        Number of Gaussians in the expansion of a distance.
    **output_kwargs
        Arguments of `OutputHead`.

    Raises
    ------
    ValueError
        If ``source`` is unknown, or the encoder lacks the attribute that it needs.
    """

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
        source: MomentSource = "auto",
        cutoff: float | None = None,
        num_radial: int = 16,
        **output_kwargs: Any,
    ) -> None:
        super().__init__()
        vectors = vector_dim(encoder)
        self.source = choose_source(encoder, source, get_args(MomentSource))
        if self.source == "edges":
            reach = edge_cutoff(encoder, cutoff)
            self.network: nn.Module = _EdgeHead(width, reach, num_radial, **output_kwargs)
        else:
            self.network = OutputHead(width, vectors if self.source == "encoder" else 1, **output_kwargs)

    def forward(self, points: Tensor, vectors: Tensor | None, graph: Graph) -> Tensor:
        """Return the share of each atom, [N, 3].

        Parameters
        ----------
        points
            Embeddings of the atoms, [N, width].
        vectors
            Vectors of the encoder, [N, K, 3], or None.
        graph
            Graph of the batch.
        """
        if self.source == "encoder":
            if vectors is None:
                raise ValueError("vectors must not be None if the source is 'encoder'")
            return torch.einsum("nk,nkc->nc", self.network(points), vectors)
        if self.source == "charges":
            charges = self.network(points)
            mean = sum_by_structure(charges, graph) / atom_counts(graph).view(-1, 1)
            return (charges - mean[structure_index(graph)]) * graph.pos
        edges, coefficients = self.network(points, graph)
        pulls = coefficients * edges.unit
        return pulls.new_zeros(points.shape[0], 3).index_add(0, edges.center, pulls)


class SymmetricTensorHead(nn.Module):
    r"""Map embeddings of N atoms to their shares of a structure's symmetric tensor, [N, 3, 3].

    .. math::

        T_i = s(h_i)\, 1 + \sum_j a(h_i, h_j, d_{ij})\, u(d_{ij})
              \left(\hat r_{ij} \hat r_{ij}^T - \tfrac{1}{3} 1\right)

    The tensor rotates with the structure if the embeddings are invariant. The isotropic part and the
    traceless part are independent of each other.

    Parameters
    ----------
    encoder
        Encoder of the embeddings. The head reads its ``cutoff``.
    width
        Width of the embeddings.
    cutoff, num_radial, **output_kwargs
        See `VectorMomentHead`.

    Raises
    ------
    ValueError
        If the encoder has no cutoff, and none is given.
    """

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
        cutoff: float | None = None,
        num_radial: int = 16,
        **output_kwargs: Any,
    ) -> None:
        super().__init__()
        self.edges = _EdgeHead(width, edge_cutoff(encoder, cutoff), num_radial, **output_kwargs)
        self.isotropic = OutputHead(width, 1, **output_kwargs)

    def forward(self, points: Tensor, vectors: Tensor | None, graph: Graph) -> Tensor:
        """Return the share of each atom, [N, 3, 3]; ``vectors`` are not used."""
        edges, coefficients = self.edges(points, graph)
        one = torch.eye(3, dtype=edges.unit.dtype, device=edges.unit.device)
        outer = edges.unit.unsqueeze(-1) * edges.unit.unsqueeze(-2) - one / 3
        parts = coefficients.unsqueeze(-1) * outer
        shares = self.isotropic(points).unsqueeze(-1) * one.to(points.dtype)
        return shares.to(parts.dtype).index_add(0, edges.center, parts)
