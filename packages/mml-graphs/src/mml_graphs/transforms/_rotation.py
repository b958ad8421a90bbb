"""Rotate a whole sample: its atoms, lattice, edges, and labels that have a direction."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mml_samples import Array, Sample

from mml_graphs.sample import read_structure, with_keys
from mml_graphs.transforms._arrays import floats, tensor
from mml_graphs.transforms._graphs import update_graph

VECTORS = ("pos", "noisy_pos", "denoise", "cell", "offsets", "force", "forces")
STRESS = "stress"
# Voigt order of the sample contract and of ASE: xx yy zz yz xz xy.
VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


def random_rotation(generator: torch.Generator) -> torch.Tensor:
    """Draw a rotation from the uniform distribution over all rotations.

    The Q of the QR decomposition of a Gaussian matrix is uniform if its columns are multiplied by the signs
    of the diagonal of R (Mezzadri, "How to generate random matrices from the classical compact groups",
    Notices of the AMS 54, 2007).

    Parameters
    ----------
    generator
        Random number generator.

    Returns
    -------
    Tensor
        [3, 3] float64, with determinant +1.
    """
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * torch.linalg.det(q).sign()


def rotated(sample: Sample, rotation: torch.Tensor) -> Sample:
    """Return a copy of the sample and its graph in which every vector v is replaced by ``v @ rotation``.

    Parameters
    ----------
    sample
        Sample to rotate. It is not changed. ``structure``, over which ``pos`` and ``cell`` take precedence,
        is kept as it is.
    rotation
        [3, 3], orthogonal matrix.

    Returns
    -------
    dict
        Sample with rotated ``pos``, ``noisy_pos``, ``cell``, ``offsets``, ``force``, ``forces``, target
        ``denoise``, and ``stress`` ([3, 3], [1, 3, 3], or Voigt [6], [1, 6]). Those under ``targets`` are
        float64.

    Raises
    ------
    ValueError
        If one of these arrays does not have the shape of vectors or stress tensors.
    """

    def turned(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        found = {key: _vectors(key, arrays[key], rotation) for key in VECTORS if key in arrays}
        if STRESS in arrays:
            found[STRESS] = _stress(arrays[STRESS], rotation)
        return found

    result: dict[str, Array] = {**sample}
    if "graph" not in sample or "pos" in sample:
        structure = read_structure(sample)
        result["pos"] = sample.get("pos", torch.tensor(structure.positions))
        if structure.cell is not None:
            result["cell"] = sample.get("cell", torch.tensor(structure.cell[None]))
    result |= turned(result)
    if "targets" in sample:
        targets = sample["targets"]
        exact = {
            key: tensor(key, value).to(torch.float64)
            for key, value in targets.items()
            if key in VECTORS or key == STRESS
        }
        result["targets"] = {**targets, **turned(exact)}
    if "graph" in sample:
        result["graph"] = update_graph(sample["graph"], nodes=turned, edges=turned, whole=turned)
    return with_keys(sample, result)


def _vectors(key: str, value: Array, rotation: torch.Tensor) -> torch.Tensor:
    array = floats(key, value)
    if array.shape[-1:] != (3,):
        raise ValueError(f"{key!r} has shape {list(array.shape)}, expected vectors [..., 3]")
    return (array.to(torch.float64) @ rotation.to(array.device)).to(array.dtype)


def _stress(value: Array, rotation: torch.Tensor) -> torch.Tensor:
    array = floats(STRESS, value)
    matrix = array.to(torch.float64)
    rotation = rotation.to(array.device)
    if array.shape[-2:] == (3, 3):
        return (rotation.T @ matrix @ rotation).to(array.dtype)
    if array.shape not in ((6,), (1, 6)):
        raise ValueError(f"{STRESS!r} has shape {list(array.shape)}, expected [3, 3] or Voigt [6]")
    rows, columns = VOIGT
    full = matrix.new_zeros(*matrix.shape[:-1], 3, 3)
    full[..., rows, columns] = matrix
    full[..., columns, rows] = matrix
    return (rotation.T @ full @ rotation)[..., rows, columns].to(array.dtype)
