"""Check that a sample can be stored: finite geometry, and targets of a valid shape."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mml_data.tensor_type import is_tensor

__all__ = ["GEOMETRY_KEYS", "check_sample"]

GEOMETRY_KEYS = ("pos", "cell", "lattice_params", "lattice_features")
"""Coordinates and lattices.

They must be finite, and are read back in the precision in which they are stored.
"""

_FIXED_SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "cell": ((3, 3), (1, 3, 3)),
    "pbc": ((3,),),
    "lattice_params": ((6,),),
    "lattice_features": ((6,),),
}


def check_sample(sample: Mapping[str, Any]) -> int:
    """Check the requirements on stored samples, and return the number of atoms of the sample.

    Parameters
    ----------
    sample
        Dict with ``atomic_numbers``, [N] integers from 1 to 118, and ``pos``, [N, 3] in angstrom. Optional
        keys: ``cell``, [3, 3] or [1, 3, 3]; ``pbc``, [3]; ``lattice_params`` or ``lattice_features``, [6];
        and ``targets``, numbers or arrays whose first dimension is N (per atom) or 1 (per structure). NaN in
        a target marks a missing value.

    Raises
    ------
    TypeError
        If the sample, its targets or one of these values has the wrong type.
    ValueError
        If a key is missing, a shape is wrong, or a value is not finite.
    """
    if not isinstance(sample, Mapping):
        raise TypeError(f"a sample is a dict, this is a {type(sample).__name__}")
    for key in ("atomic_numbers", "pos"):
        if key not in sample:
            raise ValueError(f"a sample needs {key!r}, this one has {', '.join(sample) or 'no keys'}")
    numbers = _as_array("atomic_numbers", sample["atomic_numbers"])
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1 or numbers.size == 0:
        raise ValueError(
            f"atomic_numbers must be [N] integers with N >= 1, this is {list(numbers.shape)} {numbers.dtype}"
        )
    if numbers.min() < 1 or numbers.max() > 118:
        raise ValueError(
            f"atomic_numbers must be from 1 to 118, these go from {numbers.min()} to {numbers.max()}"
        )
    natoms = int(numbers.size)
    if (shape := _as_array("pos", sample["pos"]).shape) != (natoms, 3):
        raise ValueError(f"pos must be [{natoms}, 3] for {natoms} atomic_numbers, this is {list(shape)}")
    for key, shapes in _FIXED_SHAPES.items():
        if key in sample and (shape := _as_array(key, sample[key]).shape) not in shapes:
            wanted = " or ".join(str(list(each)) for each in shapes)
            raise ValueError(f"{key} must be {wanted}, this is {list(shape)}")
    for key in GEOMETRY_KEYS:
        if key in sample and not (finite := np.isfinite(_as_array(key, sample[key]))).all():
            raise ValueError(f"{key} is not finite at index {np.argwhere(~finite)[0].tolist()}")
    _check_targets(sample.get("targets", {}), natoms)
    return natoms


def _check_targets(targets: Any, natoms: int) -> None:
    if not isinstance(targets, Mapping):
        raise TypeError(f"targets must be a dict of name to value, this is a {type(targets).__name__}")
    for name, value in targets.items():
        if value is None or isinstance(value, str | bytes | list | tuple | Mapping):
            raise TypeError(
                f"target {name!r} is a {type(value).__name__}: give a number or an array, or leave it out"
            )
        array = np.asarray(value.detach().cpu() if is_tensor(value) else value)
        if array.ndim and array.shape[0] not in (1, natoms):
            raise ValueError(
                f"target {name!r} is {list(array.shape)}: the first dimension must be {natoms} or 1"
            )
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise ValueError(f"target {name!r} is infinite; a missing value is NaN, or left out")


def _as_array(key: str, value: Any) -> np.ndarray:
    if is_tensor(value):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{key} must be an array or a tensor, this is a {type(value).__name__}")
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{key} must hold numbers, this is an array of {value.dtype}")
    return value
