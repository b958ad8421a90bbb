"""The same batch, turned and shifted: what an invariant output must not notice."""

import copy
from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor

TURNED = ("pos", "cell", "offsets")  # Cartesian vectors of the input


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


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, MutableMapping) else getattr(holder, key, None)


def _set(holder: Any, key: str, value: Tensor) -> None:
    if isinstance(holder, MutableMapping):
        holder[key] = value
    else:
        setattr(holder, key, value)
