"""Edge vectors, distances, and the functions of distance that encoders share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mml_models.batch import AtomGraph


@dataclass(frozen=True)
class Edges:
    """The E edges that an encoder sees: those shorter than its cutoff.

    Parameters
    ----------
    centre, neighbour
        [E] int64; messages go from the neighbour to the centre.
    vectors
        [E, 3], angstrom: from the centre to the image of the neighbour.
    distances
        [E], angstrom.
    """

    centre: Tensor
    neighbour: Tensor
    vectors: Tensor
    distances: Tensor


def edges_within(graph: AtomGraph, cutoff: float, dtype: torch.dtype) -> Edges:
    """Compute the edge vectors ``pos[neighbour] + offsets - pos[centre]`` that are shorter than `cutoff`.

    Longer edges are left out, because a graph may have been built with a larger (adaptive) radius than the
    encoder's, and envelope functions mean nothing there. An edge of undefined length (NaN) stays: it must
    be seen in the result. Vectors are computed in the precision of `pos`, then cast to `dtype`.

    Parameters
    ----------
    graph
        The atoms and their directed edges.
    cutoff
        Angstrom.
    dtype
        Of the encoder's parameters.
    """
    centre, neighbour = graph.edge_index
    with torch.no_grad():
        too_long = distances_of(_vectors(graph, centre, neighbour, graph.offsets)) >= cutoff
    offsets = graph.offsets
    if too_long.any():
        kept = (~too_long).nonzero().squeeze(1)
        centre, neighbour = centre[kept], neighbour[kept]
        offsets = None if offsets is None else offsets[kept]
    vectors = _vectors(graph, centre, neighbour, offsets).to(dtype)
    return Edges(centre, neighbour, vectors, distances_of(vectors))


def _vectors(graph: AtomGraph, centre: Tensor, neighbour: Tensor, offsets: Tensor | None) -> Tensor:
    vectors = graph.pos.index_select(0, neighbour) - graph.pos.index_select(0, centre)
    return vectors if offsets is None else vectors + offsets


def distances_of(vectors: Tensor) -> Tensor:
    """Return the lengths [E] of `vectors` [E, 3]; the gradient at length zero is zero, not NaN."""
    squared = vectors.square().sum(dim=-1)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def polynomial_envelope(distances: Tensor, cutoff: float) -> Tensor:
    """Return 1 at distance zero, falling to 0 at `cutoff` with its first two derivatives; [E] -> [E].

    Zero beyond the cutoff. ``1 - 28 x^6 + 48 x^7 - 21 x^8`` with ``x = d / cutoff``: Gasteiger et al.,
    "Directional Message Passing for Molecular Graphs" (arXiv 2003.03123), eq. 8 with p = 6.
    """
    x = (distances / cutoff).clamp(max=1.0)
    return 1.0 - x**6 * (28.0 - 48.0 * x + 21.0 * x**2)


def cosine_envelope(distances: Tensor, cutoff: float) -> Tensor:
    """Return ``(cos(pi d / cutoff) + 1) / 2``: 1 at distance zero, 0 with its slope at `cutoff`; [E] -> [E].

    Behler, "Atom-centered symmetry functions for constructing high-dimensional neural network potentials"
    (J. Chem. Phys. 134, 074106, 2011), eq. 4. Zero beyond the cutoff.
    """
    return 0.5 * ((math.pi / cutoff * distances.clamp(max=cutoff)).cos() + 1.0)


class GaussianBasis(nn.Module):
    """Distances [E] -> `num_gaussians` Gaussians [E, K], evenly spaced from 0 to the cutoff.

    ``exp(-(d - mu_k)^2 / (2 w^2))`` with the spacing of the centres as the width w: Schuett et al., SchNet
    (arXiv 1706.08566), eq. 5.
    """

    centres: Tensor

    def __init__(self, num_gaussians: int, cutoff: float) -> None:
        super().__init__()
        if num_gaussians < 2:
            raise ValueError(f"num_gaussians is {num_gaussians}: give at least 2.")
        self.width = cutoff / (num_gaussians - 1)
        self.register_buffer("centres", torch.linspace(0.0, cutoff, num_gaussians), persistent=False)

    def forward(self, distances: Tensor) -> Tensor:
        """Expand `distances` [E] -> [E, K]."""
        exponents = -0.5 * ((distances.unsqueeze(-1) - self.centres) / self.width).square()
        # Numbers below 1e-38 would make matrix products of them take ten times as long. At -40, nothing that
        # is added to the nearest Gaussian, which is at least 0.88, is seen even in double precision.
        return torch.exp(exponents.clamp(min=-40.0))


class BesselBasis(nn.Module):
    """Distances [E] -> `num_radial` sines [E, K] that vanish at the cutoff.

    ``sqrt(2 / cutoff) sin(n pi d / cutoff) / d`` for n = 1 to K, and its limit at distance zero: Gasteiger et
    al. (arXiv 2003.03123), eq. 7.
    """

    orders: Tensor

    def __init__(self, num_radial: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("orders", torch.arange(1.0, num_radial + 1.0), persistent=False)

    def forward(self, distances: Tensor) -> Tensor:
        """Expand `distances` [E] -> [E, K]."""
        frequencies = self.orders / self.cutoff
        scale = math.pi * math.sqrt(2.0 / self.cutoff)
        return scale * frequencies * torch.sinc(distances.unsqueeze(-1) * frequencies)
