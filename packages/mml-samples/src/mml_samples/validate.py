"""Check a sample against the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mml_samples.keys import EDGE_KEYS, GEOMETRY_KEYS, LATTICE_KEYS
from mml_samples.names import sample_name

_STRUCTURE_SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "cell": ((1, 3, 3), (3, 3)),
    "pbc": ((3,), (1, 3)),
    **dict.fromkeys(LATTICE_KEYS, ((6,), (1, 6))),
}
_ATOM_SHAPES: dict[str, tuple[int, ...]] = {
    "pos": (3,),
    "frac_coords": (3,),
    "tags": (),
    "fixed": (),
    "magmom": (),
}
_ENDS = ("src_nodes", "dst_nodes")
_EDGE_SHAPES: dict[str, tuple[int, ...]] = {
    key: () if key in (*_ENDS, "distances") else (3,) for key in EDGE_KEYS
}


def check_sample(sample: Mapping[str, object]) -> int:
    """Check all keys of a sample that belong to the contract, and return its number of atoms.

    Parameters
    ----------
    sample
        Sample to check, see `mml_samples.Sample`. Arrays may be NumPy arrays, tensors or, except for targets,
        nested lists. Other keys are not checked.

    Returns
    -------
    int
        Number of atoms N.

    Raises
    ------
    TypeError
        If the sample or its targets are not a dict, or a value has the wrong type.
    ValueError
        If a required key is missing, a shape is wrong, or a value is invalid. The message names the sample,
        the key and the value.
    """
    if not isinstance(sample, Mapping):
        raise TypeError(f"A sample must be a dict, got a {type(sample).__name__}")
    name = sample_name(sample)
    num_atoms = _count_atoms(sample, name)
    for key, tail in _ATOM_SHAPES.items():
        if key in sample:
            _check_shape(
                key, _array(key, sample, name), ((num_atoms, *tail),), name, f" for {num_atoms} atoms"
            )
    for key, shapes in _STRUCTURE_SHAPES.items():
        if key in sample:
            _check_shape(key, _array(key, sample, name), shapes, name)
    for key in (*GEOMETRY_KEYS, "frac_coords"):
        if key in sample and not (finite := np.isfinite(array := _array(key, sample, name))).all():
            place = np.argwhere(~finite)[0]
            raise ValueError(
                f"{key} of {name} must be finite, got {array[tuple(place)]} at index {place.tolist()}"
            )
    _check_edges(sample, num_atoms, name)
    _check_targets(sample.get("targets", {}), num_atoms, name)
    return num_atoms


def _count_atoms(sample: Mapping[str, object], name: str) -> int:
    """Check that the sample has atoms with positions, and return their number."""
    structure = sample.get("structure")
    if "pos" not in sample and "frac_coords" not in sample and structure is None:
        raise ValueError(
            f"{name} has no 'pos', its keys are {sorted(sample)}. Add Cartesian positions in angstrom."
        )
    if "atomic_numbers" not in sample:
        if structure is None:
            raise ValueError(
                f"{name} has no 'atomic_numbers', its keys are {sorted(sample)}. Add one number per atom."
            )
        if not isinstance(structure, Sized):
            raise TypeError(
                f"structure of {name} must be a pymatgen Structure or an ASE Atoms, got {_kind(structure)}"
            )
        return len(structure)
    numbers = _array("atomic_numbers", sample, name)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1 or not numbers.size:
        raise ValueError(
            f"atomic_numbers of {name} must be integers of shape [N] with at least one atom, got "
            f"{numbers.dtype} of shape {list(numbers.shape)}"
        )
    if numbers.min() < 1 or numbers.max() > 118:
        atom = int(np.flatnonzero((numbers < 1) | (numbers > 118))[0])
        raise ValueError(
            f"atomic_numbers of {name} must be from 1 to 118, got {numbers[atom]} for atom {atom}"
        )
    return int(numbers.size)


def _check_edges(sample: Mapping[str, object], num_atoms: int, name: str) -> None:
    known = [key for key in EDGE_KEYS if key in sample]
    if not known:
        return
    num_edges = len(np.atleast_1d(_array(known[0], sample, name)))
    for key, tail in _EDGE_SHAPES.items():
        if key in sample:
            array = _array(key, sample, name)
            _check_shape(key, array, ((num_edges, *tail),), name, f" for {num_edges} edges")
            if key in _ENDS and array.dtype.kind not in "iu":
                raise TypeError(f"{key} of {name} must be integers, got {array.dtype}")
            if key in _ENDS and num_edges and not 0 <= array.min() <= array.max() < num_atoms:
                edge = int(np.flatnonzero((array < 0) | (array >= num_atoms))[0])
                raise ValueError(
                    f"{key} of {name} must be from 0 to {num_atoms - 1} for {num_atoms} atoms, got "
                    f"{array[edge]} for edge {edge}"
                )


def _check_targets(targets: object, num_atoms: int, name: str) -> None:
    if not isinstance(targets, Mapping):
        raise TypeError(f"targets of {name} must be a dict of name to value, got a {type(targets).__name__}")
    for key, value in targets.items():
        array = _to_numpy(value)
        if array is None or isinstance(value, list | tuple):
            raise TypeError(
                f"targets.{key} of {name} is a {type(value).__name__}, expected a number or an array. "
                "Convert it, or remove it if it is missing."
            )
        if array.ndim and array.shape[0] not in (1, num_atoms):
            raise ValueError(
                f"targets.{key} of {name} has shape {list(array.shape)}, expected 1 row for the structure or "
                f"{num_atoms} for its atoms"
            )
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise ValueError(
                f"targets.{key} of {name} is infinite. Fix the label, or set it to NaN if it is missing."
            )


def _check_shape(
    key: str, array: NDArray[Any], shapes: tuple[tuple[int, ...], ...], name: str, reason: str = ""
) -> None:
    if array.shape not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise ValueError(f"{key} of {name} has shape {list(array.shape)}, expected {expected}{reason}")


def _array(key: str, sample: Mapping[str, object], name: str) -> NDArray[Any]:
    array = _to_numpy(sample[key])
    if array is None:
        raise TypeError(f"{key} of {name} must be an array of numbers, got {_kind(sample[key])}")
    return array


def _to_numpy(value: object) -> NDArray[Any] | None:
    """Return a number, an array, a tensor or nested lists as an array, or ``None`` for anything else."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except ValueError:  # nested lists of different lengths
        return None
    return array if array.dtype.kind in "biuf" else None


def _kind(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    return f"a {type(value).__name__}" if dtype is None else f"an array of {dtype}"
