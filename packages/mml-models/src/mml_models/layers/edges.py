"""Edge vectors, distances, envelopes and radial basis functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mml_models.batch import AtomGraph


@dataclass(frozen=True)
class Edges:
    """The E edges of a batch that are shorter than the cutoff of an encoder.

    Parameters
    ----------
    center, neighbor
        Atom indices, [E] int64. Messages go from the neighbor to the center.
    vectors
        Vectors from the center to the image of the neighbor, [E, 3], angstrom.
    distances
        Lengths of `vectors`, [E], angstrom.
    """

    center: Tensor
    neighbor: Tensor
    vectors: Tensor
    distances: Tensor


def edges_within(graph: AtomGraph, cutoff: float, dtype: torch.dtype) -> Edges:
    """Return the edges shorter than `cutoff`, with vectors ``pos[neighbor] + offsets - pos[center]``.

    Longer edges are dropped, because the graph may have been built with a larger (adaptive) radius, and
    envelope functions are only valid below the cutoff. Edges of undefined length (NaN) are kept, so that the
    NaN appears in the result. Vectors are computed in the precision of `pos` and then cast to `dtype`.

    Parameters
    ----------
    graph
        The atoms and their directed edges.
    cutoff
        Cutoff radius, angstrom.
    dtype
        The dtype of the encoder's parameters.
    """
    center, neighbor = graph.edge_index
    with torch.no_grad():
        too_long = distances_of(_vectors(graph, center, neighbor, graph.offsets)) >= cutoff
    offsets = graph.offsets
    if too_long.any():
        kept = (~too_long).nonzero().squeeze(1)
        center, neighbor = center[kept], neighbor[kept]
        offsets = None if offsets is None else offsets[kept]
    vectors = _vectors(graph, center, neighbor, offsets).to(dtype)
    return Edges(center, neighbor, vectors, distances_of(vectors))


def _vectors(graph: AtomGraph, center: Tensor, neighbor: Tensor, offsets: Tensor | None) -> Tensor:
    vectors = graph.pos.index_select(0, neighbor) - graph.pos.index_select(0, center)
    return vectors if offsets is None else vectors + offsets


def distances_of(vectors: Tensor) -> Tensor:
    """Return the lengths [E] of `vectors` [E, 3]. The gradient at length zero is zero, not NaN."""
    squared = vectors.square().sum(dim=-1)
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())


def polynomial_envelope(distances: Tensor, cutoff: float) -> Tensor:
    """Return the polynomial envelope ``1 - 28 x^6 + 48 x^7 - 21 x^8`` of ``x = d / cutoff``; [E] -> [E].

    It is 1 at distance zero and 0 beyond the cutoff. At the cutoff, the function and its first two
    derivatives are zero. Gasteiger et al., "Directional Message Passing for Molecular Graphs"
    (arXiv 2003.03123), eq. 8 with p = 6.
    """
    x = (distances / cutoff).clamp(max=1.0)
    return 1.0 - x**6 * (28.0 - 48.0 * x + 21.0 * x**2)


def cosine_envelope(distances: Tensor, cutoff: float) -> Tensor:
    """Return the cosine envelope ``(cos(pi d / cutoff) + 1) / 2``; [E] -> [E].

    It is 1 at distance zero and 0 beyond the cutoff. At the cutoff, the function and its first derivative are
    zero. Behler, "Atom-centered symmetry functions for constructing high-dimensional neural network
    potentials" (J. Chem. Phys. 134, 074106, 2011), eq. 4.
    """
    return 0.5 * ((math.pi / cutoff * distances.clamp(max=cutoff)).cos() + 1.0)


class GaussianBasis(nn.Module):
    """Expand distances in Gaussians whose centers are evenly spaced from 0 to the cutoff; [E] -> [E, K].

    The functions are ``exp(-(d - mu_k)^2 / (2 w^2))``. The width w is the spacing of the centers mu_k.
    Schuett et al., SchNet (arXiv 1706.08566), eq. 5.

    Parameters
    ----------
    num_gaussians
        Number of Gaussians K, at least 2.
    cutoff
        Cutoff radius, angstrom.

    Raises
    ------
    ValueError
        If `num_gaussians` is below 2.
    """

    centers: Tensor

    def __init__(self, num_gaussians: int, cutoff: float) -> None:
        super().__init__()
        if num_gaussians < 2:
            raise ValueError(f"num_gaussians must be at least 2, got {num_gaussians}")
        self.width = cutoff / (num_gaussians - 1)
        self.register_buffer("centers", torch.linspace(0.0, cutoff, num_gaussians), persistent=False)

    def forward(self, distances: Tensor) -> Tensor:
        """Expand `distances` [E] -> [E, K]."""
        exponents = -0.5 * ((distances.unsqueeze(-1) - self.centers) / self.width).square()
        # Matrix products of denormal numbers (below 1e-38 in float32) take ten times as long. exp(-40) is
        # negligible, even in double precision, next to the nearest Gaussian, which is at least 0.88.
        return torch.exp(exponents.clamp(min=-40.0))


class BesselBasis(nn.Module):
    """Expand distances in spherical Bessel functions that are zero at the cutoff; [E] -> [E, K].

    The functions are ``sqrt(2 / cutoff) sin(n pi d / cutoff) / d`` for n = 1 to K. Their limit is used at
    distance zero. Gasteiger et al. (arXiv 2003.03123), eq. 7.

    Parameters
    ----------
    num_radial
        Number of functions K.
    cutoff
        Cutoff radius, angstrom.
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
