"""Rotate, shift and reorder the atoms of a batch, to test whether an output is invariant."""

import copy
from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor

from mml_diagnostics.non_finite.bad_values import EDGE_KEYS

TURNED = ("pos", "cell", "offsets")  # Cartesian vectors of the input
ENDS = ("edge_index", "src_nodes", "dst_nodes")  # keys with atom indices
NOT_OF_ATOMS = (*ENDS, *EDGE_KEYS, "batch", "ptr", "natoms", "cell", "pbc")  # never reordered


def random_rotation(seed: int = 0) -> Tensor:
    """Return a uniformly distributed proper rotation, [3, 3] float64.

    The rotation is the Q of a QR decomposition of normal random numbers, multiplied by the signs of R's
    diagonal (Stewart 1980, SIAM J. Numer. Anal. 17, 403). If Q is a reflection, the sign of one column is
    changed.
    """
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    if torch.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    return q


def moved(batch: object, rotation: Tensor, shift: Tensor) -> Any:
    """Return a copy of ``batch`` with its structures rotated by ``rotation`` and shifted by ``shift``.

    ``pos``, ``cell`` and ``offsets`` of the batch and of its graph are rotated; only positions are shifted.
    Targets are not changed.

    Parameters
    ----------
    batch
        A mapping, a graph, or a mapping with a graph under ``graph``.
    rotation
        Rotation matrix, [3, 3].
    shift
        Translation, [3], in angstrom.
    """
    batch = copy.deepcopy(batch)
    graph = batch.get("graph") if isinstance(batch, MutableMapping) else None
    for holder in (batch, graph):
        for key in TURNED:
            value = _get(holder, key)
            if isinstance(value, Tensor) and value.is_floating_point() and value.shape[-1:] == (3,):
                value = value.detach()
                turned = (value.double() @ rotation.to(value.device).T).to(value.dtype)
                _set(holder, key, turned + shift.to(turned) if key == "pos" else turned)
    return batch


def random_order(structure_of: Tensor, seed: int = 0) -> Tensor:
    """Return a random order of atoms, [N] indices, that permutes atoms within each structure.

    Parameters
    ----------
    structure_of
        Index of the structure of each atom, [N].
    seed
        Seed of the permutation.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(structure_of), generator=generator)
    return shuffled[structure_of.cpu()[shuffled].argsort(stable=True)]


def reordered(batch: object, order: Tensor) -> Any:
    """Return a copy of ``batch`` with its atoms in another order, and edges between the same atoms as before.

    Tensors of the batch and of its graph with one row per atom are reordered, and the atom indices of edges
    are updated. The order of edges and the targets are not changed.

    Parameters
    ----------
    batch
        A mapping, a graph, or a mapping with a graph under ``graph``.
    order
        Previous index of each atom, [N], as returned by :func:`random_order`.
    """
    batch = copy.deepcopy(batch)
    graph = batch.get("graph") if isinstance(batch, MutableMapping) else None
    now = order.argsort()
    for holder in (batch, graph):
        for key in _keys(holder):
            value = _get(holder, key)
            if not isinstance(value, Tensor) or value.ndim == 0:
                continue
            if key in ENDS:
                _set(holder, key, now.to(value.device)[value])
            elif key not in NOT_OF_ATOMS and len(value) == len(order):
                _set(holder, key, value.detach()[order.to(value.device)])
    return batch


def _keys(holder: Any) -> list[str]:
    if holder is None:
        return []
    return list(holder if isinstance(holder, MutableMapping) else holder.to_dict())


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, MutableMapping) else getattr(holder, key, None)


def _set(holder: Any, key: str, value: Tensor) -> None:
    if isinstance(holder, MutableMapping):
        holder[key] = value
    else:
        setattr(holder, key, value)
