"""Basis functions of DimeNet: spherical Bessel functions of distances, Legendre polynomials of angles."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from numpy.polynomial import chebyshev, legendre
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]


class SphericalBessel(nn.Module):
    """Expand scaled distances x in 0..1 in spherical Bessel functions that are zero at 1; [E] -> [E, L * K].

    The functions are ``j_l(z_ln x) / sqrt(j_{l+1}(z_ln)^2 / 2)``, with the n-th zero z_ln of the spherical
    Bessel function of order l, sorted by order. Gasteiger et al. (arXiv 2003.03123), eq. 6. They are computed
    as sums of Chebyshev polynomials, whose coefficients are determined once. The result is accurate to
    rounding, also near zero. The closed forms with sines and cosines lose all digits there by cancellation.

    Parameters
    ----------
    num_spherical, num_radial
        Number of orders L, starting at 0, and number of zeros K of each order.
    """

    coefficients: Tensor

    def __init__(self, num_spherical: int, num_radial: int) -> None:
        super().__init__()
        zeros = bessel_zeros(num_spherical, num_radial)
        degree = math.ceil(zeros.max() / 2) + 20

        def functions(u: Array) -> Array:
            x = np.outer((u + 1) / 2, np.ones(num_radial))
            columns = []
            for order, z in enumerate(zeros):
                norm = np.sqrt(0.5 * spherical_bessel(order + 1, z) ** 2)
                columns.append(spherical_bessel(order, z * x) / norm)
            return np.concatenate(columns, axis=1)

        coefficients = torch.from_numpy(chebyshev.chebinterpolate(functions, degree))
        self.register_buffer("coefficients", coefficients, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Expand `x`: [E] -> [E, L * K]."""
        u = 2.0 * x - 1.0
        polynomials = [torch.ones_like(u), u]
        for _ in range(len(self.coefficients) - 2):
            polynomials.append(2.0 * u * polynomials[-1] - polynomials[-2])
        return torch.stack(polynomials, dim=1) @ self.coefficients.to(x.dtype)


def zonal_harmonics(cosine: Tensor, num_spherical: int) -> Tensor:
    """Return the spherical harmonics ``sqrt((2 l + 1) / (4 pi)) P_l(cosine)``: [T] -> [T, L].

    They are functions of the cosine, because the derivatives of the angle are undefined if three atoms are
    collinear.
    """
    polynomials = [torch.ones_like(cosine), cosine]
    for order in range(2, num_spherical):
        polynomials.append(
            ((2 * order - 1) * cosine * polynomials[-1] - (order - 1) * polynomials[-2]) / order
        )
    norms = [math.sqrt((2 * order + 1) / (4 * math.pi)) for order in range(num_spherical)]
    return torch.stack([n * p for n, p in zip(norms, polynomials, strict=False)], dim=1)


def spherical_bessel(order: int, z: Array) -> Array:
    """Return j_l(z), as the Fourier transform of a Legendre polynomial (NIST DLMF 10.54.2), by quadrature."""
    nodes, weights = _quadrature(40 + math.ceil(float(np.max(z))))
    t = (nodes + 1) / 2
    weights = weights / 2 * legendre.legval(t, np.eye(order + 1)[order])
    wave = np.cos if order % 2 == 0 else np.sin
    found: Array = (-1) ** (order // 2) * (wave(z[..., None] * t) @ weights)
    return found


@cache
def _quadrature(num_nodes: int) -> tuple[Array, Array]:
    return legendre.leggauss(num_nodes)


def bessel_zeros(num_spherical: int, num_radial: int) -> Array:
    """Return the first K positive zeros of the spherical Bessel functions of orders 0 to L - 1, [L, K].

    The zeros of order 0 are multiples of pi. Between two consecutive zeros of one order lies one zero of the
    next order, which is found by bisection.
    """
    zeros = math.pi * np.arange(1.0, num_spherical + num_radial)
    rows = [zeros[:num_radial]]
    for order in range(1, num_spherical):
        low, high = zeros[:-1], zeros[1:]
        sign = np.sign(spherical_bessel(order, low))
        for _ in range(60):
            middle = (low + high) / 2
            left = np.sign(spherical_bessel(order, middle)) == sign
            low, high = np.where(left, middle, low), np.where(left, high, middle)
        zeros = (low + high) / 2
        rows.append(zeros[:num_radial])
    return np.stack(rows)
