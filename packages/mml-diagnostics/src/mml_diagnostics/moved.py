"""The same batch, turned, shifted, its atoms in another order: what an invariant output must not notice."""

import copy
from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor

from mml_diagnostics.non_finite import EDGE_KEYS

TURNED = ("pos", "cell", "offsets")  # Cartesian vectors of the input
ENDS = ("edge_index", "src_nodes", "dst_nodes")  # which name atoms by their index
NOT_OF_ATOMS = (*ENDS, *EDGE_KEYS, "batch", "ptr", "natoms", "cell", "pbc")  # whatever their length is


def random_rotation(seed: int = 0) -> Tensor:
    """Return a [3, 3] proper rotation in float64, uniformly distributed.

    It is the Q of a QR decomposition of normal numbers with the signs of R's diagonal taken out (Stewart
    1980, SIAM J. Numer. Anal. 17, 403); of a reflection, the sign of one column is changed.
    """
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    if torch.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    return q


def moved(batch: Any, rotation: Tensor, shift: Tensor) -> Any:
    """Return a copy of ``batch`` with its structures turned by ``rotation`` and shifted by ``shift``.

    Turned are ``pos``, ``cell`` and ``offsets`` of the batch and of its graph; shifted are positions only.
    Targets stay as they are.

    Parameters
    ----------
    batch
        A mapping, a graph, or a mapping with a graph under ``graph``.
    rotation
        [3, 3].
    shift
        [3], angstrom.
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
    """Return an order of atoms, [N] indices, in which those of a structure change places among themselves.

    Parameters
    ----------
    structure_of
        [N] the structure of each atom.
    seed
        Of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(structure_of), generator=generator)
    return shuffled[structure_of.cpu()[shuffled].argsort(stable=True)]


def reordered(batch: Any, order: Tensor) -> Any:
    """Return a copy of ``batch`` with its atoms in another order, and edges between the same atoms as before.

    Of the batch and of its graph, tensors with a row for each atom are reordered, and the ends of edges
    named anew; edges keep their order. Targets stay as they are.

    Parameters
    ----------
    batch
        A mapping, a graph, or a mapping with a graph under ``graph``.
    order
        [N] where each atom was before, as :func:`random_order` returns it.
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
