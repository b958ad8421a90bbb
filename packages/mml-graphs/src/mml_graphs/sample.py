"""Read the structure of a sample in any of the accepted forms, and report errors in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from mml_samples import LATTICE_KEYS, Array, Sample
from numpy.typing import NDArray

from mml_graphs import structure_objects
from mml_graphs.neighbors.lattice import Pbc, cell_from_parameters, complete_cell

FEW = 64  # atoms


class Structure(NamedTuple):
    """Arrays of a structure, as the neighbor search needs them.

    Attributes
    ----------
    atomic_numbers
        [N] int64.
    positions
        [N, 3] float64, Cartesian, angstrom.
    cell
        [3, 3] float64, rows are the lattice vectors, angstrom. ``None`` for a molecule.
    pbc
        Periodicity along each of the three lattice vectors.
    """

    atomic_numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64] | None
    pbc: Pbc


def with_keys(sample: Mapping[str, Array], values: Mapping[str, Array]) -> Sample:
    """Return a copy of the sample with new or replaced values. A sample may have keys of any name."""
    return cast("Sample", {**sample, **values})


def read_structure(sample: Mapping[str, Array], is_cartesian: bool | None = None) -> Structure:
    """Read atoms, positions, cell and periodicity, and check them.

    ``pos`` (or ``frac_coords``), ``atomic_numbers``, ``cell`` (or ``lattice_params``, ``lattice_features``)
    and ``pbc`` are read from the sample. Missing ones are read from ``structure``, a pymatgen ``Structure``
    or an ASE ``Atoms``.

    Parameters
    ----------
    sample
        Sample to read. It is not changed.
    is_cartesian
        ``False`` if ``pos`` contains fractional coordinates.

    Returns
    -------
    Structure
        Checked arrays.

    Raises
    ------
    ValueError
        If a key is missing, has the wrong shape or has invalid values. The message names the key and the
        value.
    """
    structure = sample.get("structure")
    lattice = None if structure is None or "cell" in sample else structure_objects.lattice(structure)

    numbers = _atomic_numbers(sample, structure)
    cell = _cell(sample, lattice)
    if "pbc" in sample:
        flags = _array(sample, "pbc").reshape(-1)
        if flags.size != 3:
            raise ValueError(f"'pbc' has {flags.size} values, expected 3")
        pbc = (bool(flags[0]), bool(flags[1]), bool(flags[2]))
    elif lattice is not None:
        x, y, z = lattice[1].tolist()
        pbc = (x, y, z)
    else:
        pbc = (cell is not None,) * 3

    if "pos" in sample or "frac_coords" in sample:
        key = "pos" if "pos" in sample else "frac_coords"
        positions = _floats(sample, key)
        fractional = key == "frac_coords" or is_cartesian is False
    elif structure is not None:
        key, positions, fractional = "structure", structure_objects.positions([structure]), False
    else:
        raise ValueError(
            "'pos' is missing. Add Cartesian positions [N, 3] in angstrom, 'frac_coords' or a 'structure'."
        )
    if positions.shape != (len(numbers), 3):
        raise ValueError(
            f"{key!r} has shape {list(positions.shape)}, "
            f"expected [{len(numbers)}, 3] for {len(numbers)} 'atomic_numbers'"
        )
    _check_finite(key, positions)
    if fractional:
        if cell is None:
            raise ValueError(
                f"{key!r} is fractional, but 'cell' is missing. Add a cell, or use Cartesian positions."
            )
        positions = np.ascontiguousarray(positions @ complete_cell(cell, pbc).matrix)
    return Structure(numbers, positions, cell, pbc)


def _atomic_numbers(sample: Mapping[str, Array], structure: Any) -> NDArray[np.int64]:
    if "atomic_numbers" in sample:
        numbers = _array(sample, "atomic_numbers")
    elif structure is not None:
        numbers = structure_objects.atomic_numbers([structure])
    else:
        raise ValueError("'atomic_numbers' is missing, expected one integer per atom")
    if numbers.ndim != 1 or not numbers.size:
        raise ValueError(
            f"'atomic_numbers' has shape {list(numbers.shape)}, expected [N] with at least one atom"
        )
    if numbers.dtype.kind not in "iu":
        raise ValueError(f"'atomic_numbers' has dtype {numbers.dtype}, expected integers")
    numbers = numbers.astype(np.int64, copy=False)
    if not is_known_element(numbers):
        wrong = int(np.flatnonzero((numbers < 1) | (numbers > 118))[0])
        raise ValueError(f"'atomic_numbers' of atom {wrong} is {numbers[wrong]}, expected 1 to 118")
    return numbers


def _cell(
    sample: Mapping[str, Array], lattice: tuple[NDArray[np.float64], NDArray[np.bool_]] | None
) -> NDArray[np.float64] | None:
    if "cell" in sample:
        cell = _floats(sample, "cell")
        if cell.shape not in ((3, 3), (1, 3, 3)):
            raise ValueError(f"'cell' has shape {list(cell.shape)}, expected [1, 3, 3] or [3, 3]")
        _check_finite("cell", cell)
        return cell.reshape(3, 3)
    for key in LATTICE_KEYS:
        if key in sample:
            parameters = _floats(sample, key)
            if parameters.shape not in ((6,), (1, 6)):
                raise ValueError(f"{key!r} has shape {list(parameters.shape)}, expected [6]")
            _check_finite(key, parameters)
            try:
                return cell_from_parameters(parameters.reshape(6))
            except ValueError as error:
                raise ValueError(f"{key!r}: {error}") from error
    if lattice is not None:
        cell = np.array(lattice[0], dtype=np.float64)
        _check_finite("structure", cell)
        return cell
    return None


def _array(sample: Mapping[str, Array], key: str) -> NDArray[Any]:
    value = sample[key]
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{key!r} is not an array of numbers: {error}") from error


def _floats(sample: Mapping[str, Array], key: str) -> NDArray[np.float64]:
    array = _array(sample, key)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{key!r} has dtype {array.dtype}, expected numbers")
    return np.ascontiguousarray(array, dtype=np.float64)


def is_known_element(numbers: NDArray[np.int64]) -> bool:
    """Return whether all atomic numbers are from 1 to 118."""
    if len(numbers) <= FEW:  # plain integers are faster here than NumPy
        values = numbers.tolist()
        return min(values) >= 1 and max(values) <= 118
    return bool((numbers - 1).view(np.uint64).max() <= 117)  # checks both limits in one pass


def _check_finite(key: str, array: NDArray[np.float64]) -> None:
    rows = array.reshape(-1, array.shape[-1])
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(f"{key!r} contains values that are not finite: {rows[row].tolist()} in row {row}")
