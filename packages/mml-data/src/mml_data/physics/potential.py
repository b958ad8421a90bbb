"""Fit a simple potential to forces, whose energies and stresses then test those of the data set.

The energy of the potential is a sum over atoms i, ``sum_k w_k rho_k(i) + u_k rho_k(i)^2``, of the density of
the neighbors, ``rho_k(i) = sum_j phi_k(r_ij)``, with Gaussians phi_k that a cosine cutoff multiplies, and
with separate coefficients for each pair of elements. The linear terms are a pair potential, and the quadratic
ones give metals and covalent crystals their dependence on the coordination, as in the embedded-atom method
(Daw and Baskes, Phys. Rev. B 29, 6443, 1984). Forces are linear in the coefficients, which follow from a
least-squares fit. The stress is the derivative of the same energy with respect to the strain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mml_data.physics.frame import Frame
from mml_data.physics.geometry import heights

__all__ = ["Fit", "fit_forces"]

CUTOFF = 5.0
_CENTERS = 8
_RIDGE = 1e-6
_MOST_ELEMENTS = 4
_FEW_FRAMES = 8


@dataclass(frozen=True)
class Fit:
    """Predictions of a potential that was fitted to forces.

    Attributes
    ----------
    frames
        Samples of the fit.
    explained
        Share of the variance of the forces that the fit explains, for samples that were left out of it.
    energies
        Energies of the samples without the energies of the atoms, [n], eV.
    stresses
        Stresses of the samples, [n, 3, 3], eV/angstrom^3.
    """

    frames: list[Frame]
    explained: float
    energies: np.ndarray
    stresses: np.ndarray


def fit_forces(frames: Sequence[Frame]) -> Fit | None:
    """Fit the potential to the forces of samples, or return None if there are too few for a fit.

    Every fourth sample is left out of the fit and tests it.
    """
    frames = [frame for frame in frames if frame.forces is not None and np.isfinite(frame.pos).all()]
    if len(frames) < _FEW_FRAMES:
        return None
    elements = np.unique(np.concatenate([frame.numbers for frame in frames]))
    if len(elements) > _MOST_ELEMENTS:
        return None
    energies, forces, virials = zip(*(_features(frame, elements) for frame in frames), strict=True)
    columns = energies[0].size
    wanted = [np.asarray(frame.forces).ravel() for frame in frames]
    tested = np.arange(len(frames)) % 4 == 3
    normal, right = np.zeros((columns, columns)), np.zeros(columns)
    for matrix, force, is_tested in zip(forces, wanted, tested, strict=True):
        if not is_tested:
            normal += matrix.T @ matrix
            right += matrix.T @ force
    size = np.sqrt(np.diag(normal)) + 1e-9
    normal = normal / size / size[:, None] + _RIDGE * np.eye(columns)
    solution = np.linalg.solve(normal, right / size) / size
    left = total = 0.0
    for matrix, force, is_tested in zip(forces, wanted, tested, strict=True):
        if is_tested:
            left += float(((force - matrix @ solution) ** 2).sum())
            total += float((force**2).sum())
    return Fit(
        frames,
        1 - left / total if total else 0.0,
        np.array([row @ solution for row in energies]),
        np.array([virial @ solution / frame.volume for virial, frame in zip(virials, frames, strict=True)]),
    )


def _features(frame: Frame, elements: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the derivatives by the coefficients: energy [K], forces [3 N, K], virial [3, 3, K]."""
    i, j, vectors, lengths = _neighbors(frame)
    kind = np.searchsorted(elements, frame.numbers)
    values, slopes = _basis(lengths)
    count, width = len(frame.numbers), values.shape[1]
    density = np.zeros((count, len(elements), width))
    np.add.at(density, (i, kind[j]), values)
    directions = vectors / lengths[:, None]
    energies, forces, virials = [], [], []
    for center in range(len(elements)):
        for other in range(len(elements)):
            chosen = (kind[i] == center) & (kind[j] == other)
            first, second, along = i[chosen], j[chosen], directions[chosen]
            site = density[:, other]
            for power in (1, 2) if center <= other else (2,):
                energies.append((site[kind == center] ** power).sum(axis=0))
                change = power * site[first] ** (power - 1) * slopes[chosen]
                gradient = along[:, :, None] * change[:, None, :]
                force = np.zeros((count, 3, width))
                np.add.at(force, second, -gradient)
                np.add.at(force, first, gradient)
                forces.append(force.reshape(3 * count, width))
                virials.append(np.einsum("nak,nb->abk", gradient, vectors[chosen]))
    return np.concatenate(energies), np.concatenate(forces, axis=1), np.concatenate(virials, axis=2)


def _neighbors(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return atom, neighbor, vector and distance of all pairs within the cutoff."""
    pos, owner = frame.pos, np.arange(len(frame.pos))
    ghosts = pos
    if frame.cell is not None and frame.pbc.any():
        inverse = np.linalg.inv(frame.cell)
        fractions = pos @ inverse
        fractions = fractions - np.floor(fractions) * frame.pbc
        pos = fractions @ frame.cell
        margin = CUTOFF / heights(frame.cell)
        counts = np.where(frame.pbc, np.ceil(margin), 0).astype(int)
        grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), -1).reshape(
            -1, 3
        )
        moved = (fractions[None] + grid[:, None]).reshape(-1, 3)
        near = (((moved > -margin) & (moved < 1 + margin)) | ~frame.pbc).all(axis=1)
        ghosts, owner = moved[near] @ frame.cell, np.tile(owner, len(grid))[near]
    vectors = ghosts[None] - pos[:, None]
    lengths = np.sqrt(np.einsum("ijk,ijk->ij", vectors, vectors))
    i, at = np.nonzero((lengths < CUTOFF) & (lengths > 1e-6))
    return i, owner[at], vectors[i, at], lengths[i, at]


def _basis(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the radial functions and their derivatives, [pairs, 8]."""
    centers = np.linspace(1.5, CUTOFF - 0.3, _CENTERS)
    width = (CUTOFF - 1.5) / _CENTERS
    away = (lengths[:, None] - centers) / width
    bells = np.exp(-0.5 * away**2)
    cut = 0.5 * (1 + np.cos(np.pi * lengths / CUTOFF))[:, None]
    steep = (-0.5 * np.pi / CUTOFF * np.sin(np.pi * lengths / CUTOFF))[:, None]
    return bells * cut, bells * steep - away / width * bells * cut
