"""Read and check the structures of one or several samples, as joined arrays."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from mml_samples import LATTICE_KEYS, Array, Sample, sample_name, warn_once
from numpy.typing import NDArray

from mml_graphs import structure_objects
from mml_graphs.neighbors.find_edges import wrap
from mml_graphs.neighbors.lattice import Cell, complete_cell
from mml_graphs.sample import Structure, is_known_element, read_structure

logger = logging.getLogger(__name__)

# If a sample has one of these keys, its ``structure`` only provides the missing ones.
OTHER_FORMS = frozenset(("atomic_numbers", "pos", "frac_coords", "cell", "pbc", *LATTICE_KEYS))
OTHER_CELLS = frozenset(("structure", *LATTICE_KEYS))


class Structures(NamedTuple):
    """Arrays of B structures with N atoms in total, one structure after the other.

    Attributes
    ----------
    starts
        [B + 1] int64, index of the first atom of each structure, followed by N.
    atomic_numbers
        [N] int64.
    positions
        [N, 3] float64, Cartesian, angstrom.
    cells
        [B, 3, 3] float64, cells as given in the samples, angstrom. Zeros for a molecule.
    pbc
        [B, 3] bool, periodicity along each lattice vector.
    """

    starts: NDArray[np.int64]
    atomic_numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cells: NDArray[np.float64]
    pbc: NDArray[np.bool_]

    @property
    def counts(self) -> list[int]:
        """Number of atoms of each structure."""
        counts: list[int] = (self.starts[1:] - self.starts[:-1]).tolist()
        return counts

    def owners(self, atoms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of the structure of each of the given atoms."""
        return np.searchsorted(self.starts, atoms, side="right") - 1

    def one(self, index: int) -> tuple[NDArray[np.float64], Cell]:
        """Return the positions and the completed cell of one of the structures.

        Raises
        ------
        ValueError
            If the positions or the cell are not finite, or the cell has no volume in its periodic directions.
        """
        x, y, z = self.pbc[index].tolist()
        cell = complete_cell(self.cells[index], (x, y, z))
        positions = self.positions[self.starts[index] : self.starts[index + 1]]
        if not np.isfinite(positions).all():
            raise ValueError("the positions contain values that are not finite")
        return positions, cell


def read_structures(
    samples: Sequence[Sample], is_cartesian: bool | None = None, to_unit_cell: bool = False
) -> Structures:
    """Read and check one or several samples, together if their form allows it.

    Parameters
    ----------
    samples
        One or more samples. They are not changed.
    is_cartesian
        ``False`` if ``pos`` contains fractional coordinates. With ``None``, the first sample whose positions
        look fractional is reported in the log.
    to_unit_cell
        If ``True``, move the atoms into the cell along its periodic directions.

    Returns
    -------
    Structures
        Structures that do not share memory with the samples. Values that are not finite and cells without
        volume may be left to the neighbor search to report.

    Raises
    ------
    ValueError
        If a structure is invalid. The message begins with the sample's name.
    """
    structures = read_plain(samples) if is_cartesian is not False and not to_unit_cell else None
    if structures is None:
        structures = join_structures([read_named(sample, is_cartesian, to_unit_cell) for sample in samples])
    if is_cartesian is None:
        # In most structures, looking at the last atom is enough.
        for index, atom in enumerate(structures.positions[structures.starts[1:] - 1].tolist()):
            if 0 <= min(atom) <= max(atom) <= 1 and "pos" in samples[index]:
                _mention_fractional(samples[index], structures, index)
    return structures


def read_named(sample: Sample, is_cartesian: bool | None, to_unit_cell: bool = False) -> Structure:
    """Read one sample like `read_structures`, and check its cell as well."""
    try:
        structure = read_structure(sample, is_cartesian)
        cell = complete_cell(structure.cell, structure.pbc)
    except ValueError as error:
        raise ValueError(f"{sample_name(sample)}: {error}") from error
    if to_unit_cell:
        return structure._replace(positions=wrap(structure.positions, cell)[0])
    return structure


def join_structures(structures: Sequence[Structure]) -> Structures:
    """Join structures that were read one by one. The result does not share memory with them."""
    return Structures(
        _starts([len(one.positions) for one in structures]),
        np.concatenate([one.atomic_numbers for one in structures]),
        np.concatenate([one.positions for one in structures]),
        np.array([np.zeros((3, 3)) if one.cell is None else one.cell for one in structures]),
        np.array([one.pbc for one in structures]),
    )


def read_plain(samples: Sequence[Mapping[str, Array]]) -> Structures | None:
    """Read samples of a common form in a fraction of the time of `mml_graphs.sample.read_structure`.

    All samples have arrays ``atomic_numbers``, ``pos`` (Cartesian) and ``cell`` (or none, for a molecule), or
    all have only a ``structure`` of the same library. Returns ``None`` if the samples have to be read one by
    one, because they are in another form or invalid.
    """
    try:
        whole = [sample["structure"] for sample in samples if OTHER_FORMS.isdisjoint(sample)]
        if whole:
            return _read_objects(whole) if len(whole) == len(samples) else None
        return _read_arrays(samples)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _read_objects(objects: list[Any]) -> Structures | None:
    counts = list(map(len, objects))
    if not all(counts) or len({*map(structure_objects.is_ase, objects)}) > 1:
        return None
    lattices = [structure_objects.lattice(one) or (np.zeros((3, 3)), np.zeros(3, bool)) for one in objects]
    cells, pbc = zip(*lattices, strict=True)
    numbers, positions = structure_objects.atomic_numbers(objects), structure_objects.positions(objects)
    if not is_known_element(numbers):
        return None
    return Structures(_starts(counts), numbers, positions, np.array(cells), np.array(pbc))


def _read_arrays(samples: Sequence[Mapping[str, Array]]) -> Structures | None:
    numbers = [_array(sample["atomic_numbers"]) for sample in samples]
    positions = [_array(sample["pos"]) for sample in samples]
    cells = [_cell(sample) for sample in samples]
    flags = [sample.get("pbc") for sample in samples]
    pbc = np.array(
        [
            (cell is not None,) * 3 if each is None else np.asarray(each).reshape(3)
            for each, cell in zip(flags, cells, strict=True)
        ]
    )
    counts = list(map(len, numbers))
    all_numbers, all_positions = np.concatenate(numbers), np.concatenate(positions)
    all_cells = np.array([np.zeros((3, 3)) if cell is None else cell.reshape(3, 3) for cell in cells])
    if not (
        all(counts)
        and counts == list(map(len, positions))
        and all_numbers.ndim == 1
        and all_numbers.dtype.kind in "iu"
        and all_positions.dtype.kind in "fiu"
        and all_positions.shape[1:] == (3,)
        and all_cells.dtype.kind in "fiu"
        and pbc.dtype.kind in "biu"
    ):
        return None
    all_numbers = all_numbers.astype(np.int64, copy=False)
    if not is_known_element(all_numbers):
        return None
    return Structures(
        _starts(counts),
        all_numbers,
        all_positions.astype(np.float64, copy=False),
        all_cells.astype(np.float64, copy=False),
        pbc.astype(np.bool_, copy=False),
    )


def _starts(counts: list[int]) -> NDArray[np.int64]:
    return np.array([*accumulate(counts, initial=0)])


def _cell(sample: Mapping[str, Array]) -> NDArray[Any] | None:
    if "cell" in sample:
        cell = _array(sample["cell"])
        if cell.shape not in ((3, 3), (1, 3, 3)):
            raise ValueError("not a cell")
        return cell
    if not OTHER_CELLS.isdisjoint(sample):
        raise KeyError("cell")
    return None


def _array(value: Array) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    raise TypeError("not an array")


def _mention_fractional(sample: Sample, structures: Structures, index: int) -> None:
    start, end = structures.starts[index : index + 2]
    positions = structures.positions[start:end]
    if end - start < 2 or positions.min() < 0 or positions.max() > 1:
        return
    if np.linalg.norm(structures.cells[index], axis=1).min() > 2:
        warn_once(
            logger,
            "fractional",
            f"{sample_name(sample)}: all values of 'pos' are between 0 and 1, in a cell of several "
            "angstrom. They are used as Cartesian coordinates. Pass is_cartesian=False if they are "
            "fractional, or is_cartesian=True if they are Cartesian.",
        )
