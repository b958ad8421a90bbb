"""Read and check the structures of a batch together, as joined arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from mml_samples import LATTICE_KEYS, Sample
from numpy.typing import NDArray

from mml_graphs.neighbors.lattice import Cell, Pbc, invert_cells
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.sample import Structure, is_finite, is_known_element
from mml_graphs.sample_tensors import ENDS, Arrays, copy_edges, empty_edges

# If a sample has one of these keys, its ``structure`` only provides the missing ones.
OTHER_FORMS = {"atomic_numbers", "pos", "frac_coords", "cell", "pbc", *LATTICE_KEYS}

# Function that writes the edges of one or several structures to arrays from `empty_edges`.
Writer = Callable[[Arrays], None]


class Structures(NamedTuple):
    """Arrays of B structures with N atoms in total, one structure after the other.

    Attributes
    ----------
    starts
        [B + 1], index of the first atom of each structure, followed by N.
    atomic_numbers
        [N] int64.
    positions
        [N, 3] float64, Cartesian, angstrom.
    cells
        [B, 3, 3] float64, cells as given in the samples, angstrom. Zeros for a molecule.
    matrices, inverses
        [B, 3, 3] each, completed cells and their inverses, see `mml_graphs.neighbors.lattice.Cell`.
    pbc
        [B, 3] bool.
    """

    starts: list[int]
    atomic_numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cells: NDArray[np.float64]
    matrices: NDArray[np.float64]
    inverses: NDArray[np.float64]
    pbc: NDArray[np.bool_]

    @property
    def counts(self) -> list[int]:
        """Number of atoms of each structure."""
        return [end - start for start, end in zip(self.starts, self.starts[1:], strict=False)]

    def reaches(self, radius: float) -> NDArray[np.float64]:
        """Return a radius in fractional coordinates along each lattice vector, [B, 3]."""
        return radius * np.sqrt(np.square(self.inverses).sum(axis=1))

    def count_candidates(self, radius: float) -> NDArray[np.float64]:
        """Estimate atoms times images within reach, [B], like `neighbors.dense.count_candidates`."""
        num_atoms = np.array(self.counts)
        return num_atoms * num_atoms * np.where(self.pbc, 1.0 + 2.0 * self.reaches(radius), 1.0).prod(axis=1)

    def one(self, index: int) -> tuple[Structure, Cell]:
        """Return one of the structures and its completed cell."""
        atoms = slice(self.starts[index], self.starts[index + 1])
        x, y, z = self.pbc[index].tolist()
        pbc: Pbc = (x, y, z)
        return (
            Structure(self.atomic_numbers[atoms], self.positions[atoms], self.cells[index], pbc),
            Cell(self.matrices[index], self.inverses[index], pbc),
        )

    def take(self, members: list[int]) -> Structures:
        """Return the structures with the given indices."""
        if len(members) == len(self.cells):
            return self
        counts = [self.starts[index + 1] - self.starts[index] for index in members]
        atoms = np.concatenate([np.arange(self.starts[index], self.starts[index + 1]) for index in members])
        return Structures(
            list(accumulate(counts, initial=0)),
            self.atomic_numbers[atoms],
            self.positions[atoms],
            self.cells[members],
            self.matrices[members],
            self.inverses[members],
            self.pbc[members],
        )


class GroupEdges(NamedTuple):
    """Edges of several structures that were found together.

    Attributes
    ----------
    counts
        [B], number of edges of each structure, E in total.
    settled
        [B], ``False`` if the edges of a structure are not final: an atom has no edge, two atoms are in one
        place, or a pair is so close to the cutoff that its exact length has to decide. Search such a
        structure separately.
    write
        Function that writes the edges, sorted by source, to arrays from
        `mml_graphs.sample_tensors.empty_edges`. Atoms are counted through all structures.
    """

    counts: list[int]
    settled: NDArray[np.bool_]
    write: Writer

    def writers(self, members: Sequence[int], starts: Sequence[int]) -> dict[int, Writer]:
        """Return functions that write the edges of the settled structures, with atoms counted from zero.

        Parameters
        ----------
        members
            [B], ascending indices of the structures in their batch.
        starts
            [B + 1], index of the first atom of each structure in the group.

        Returns
        -------
        dict
            Each function, by the index of its structure. If the structures are neighbors in the batch and
            all are settled, one function writes the edges of all of them.
        """
        if members[-1] - members[0] == len(members) - 1 and self.settled.all():
            return {members[0]: self.write}
        arrays = empty_edges(sum(self.counts))
        self.write(arrays)
        writers: dict[int, Writer] = {}
        first = 0
        for index, is_settled, count, start in zip(
            members, self.settled.tolist(), self.counts, starts, strict=False
        ):
            if is_settled:
                part = {key: array[first : first + count] for key, array in arrays.items()}
                for key in ENDS:
                    part[key] -= start
                writers[index] = partial(copy_edges, part)
            first += count
        return writers


def read_structures(samples: Sequence[Sample], neighbors: PeriodicPropertiesTransform) -> Structures:
    """Read the structures of one or more samples, together if their form allows it.

    Parameters
    ----------
    samples
        One or more samples. They are not changed.
    neighbors
        Transform whose options apply. It reads the samples one by one if it changes positions, or if a
        structure is in another form than `read_plain` expects, could be fractional, or is invalid.

    Returns
    -------
    Structures
        Checked structures.

    Raises
    ------
    ValueError
        If a structure is invalid. The message begins with the sample's name.
    """
    if not neighbors.convert_to_unit_cell and neighbors.is_cartesian is not False:
        structures = read_plain(samples)
        if structures is not None and (neighbors.is_cartesian or not may_be_fractional(structures)):
            return structures
    return join_structures([neighbors.read(sample) for sample in samples])


def join_structures(structures: Sequence[tuple[Structure, Cell]]) -> Structures:
    """Join structures that were read one by one."""
    return Structures(
        list(accumulate((len(one.positions) for one, _ in structures), initial=0)),
        np.concatenate([one.atomic_numbers for one, _ in structures]),
        np.concatenate([one.positions for one, _ in structures]),
        np.array([np.zeros((3, 3)) if one.cell is None else one.cell for one, _ in structures]),
        np.array([cell.matrix for _, cell in structures]),
        np.array([cell.inverse for _, cell in structures]),
        np.array([cell.pbc for _, cell in structures]),
    )


def read_plain(samples: Sequence[Sample]) -> Structures | None:
    """Read samples that have arrays ``atomic_numbers``, ``pos`` (Cartesian) and ``cell``, or a ``structure``.

    The result is the same as that of `mml_graphs.sample.read_structure` and
    `mml_graphs.neighbors.lattice.complete_cell` for the single samples, but takes a fraction of the time.

    Parameters
    ----------
    samples
        One or more samples. They are not changed.

    Returns
    -------
    Structures or None
        ``None`` if the samples have to be read one by one, because a structure is in another form or is
        invalid.
    """
    try:
        numbers, positions, cells, pbc = zip(*map(_plain_arrays, samples), strict=True)
        counts = [len(one) for one in numbers]
        is_matched = counts == [len(one) for one in positions] and all(counts)
        is_shaped = {one.shape for one in cells} in ({(3, 3)}, {(1, 3, 3)}) and {
            one.ndim for one in numbers
        } == {1}
        all_numbers, all_positions = np.concatenate(numbers), np.concatenate(positions)
        all_cells, flags = np.concatenate(cells).reshape(-1, 3, 3), np.array(pbc, dtype=np.bool_)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if not (
        is_matched
        and is_shaped
        and all_numbers.dtype.kind in "iu"
        and all_positions.dtype.kind in "fiu"
        and all_cells.dtype.kind in "fiu"
        and all_positions.shape[1:] == (3,)
        and flags.shape == (len(samples), 3)
    ):
        return None
    all_numbers = all_numbers.astype(np.int64, copy=False)
    all_positions = all_positions.astype(np.float64, copy=False)
    all_cells = all_cells.astype(np.float64, copy=False)
    is_valid = is_known_element(all_numbers) and is_finite(all_positions) and is_finite(all_cells)
    inverses = invert_cells(all_cells) if is_valid else None
    if inverses is None:
        return None
    starts = list(accumulate(counts, initial=0))
    return Structures(starts, all_numbers, all_positions, all_cells, all_cells, inverses, flags)


def may_be_fractional(structures: Structures) -> bool:
    """Return whether any structure with several atoms has all of its coordinates between 0 and 1."""
    outside = np.abs(structures.positions - 0.5).max(axis=1) > 0.5
    some_outside = np.logical_or.reduceat(outside, structures.starts[:-1])
    return not some_outside.all() and bool((np.array(structures.counts)[~some_outside] > 1).any())


def _plain_arrays(sample: Sample) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], Any]:
    """Return atomic numbers, positions, cell and pbc as they are in a sample."""
    structure = None if sample.keys() & OTHER_FORMS else sample.get("structure")
    if structure is not None:
        lattice = structure.lattice
        return np.array(structure.atomic_numbers), structure.cart_coords, lattice.matrix, lattice.pbc
    flags = sample.get("pbc")
    return (
        _array(sample["atomic_numbers"]),
        _array(sample["pos"]),
        _array(sample["cell"]),
        (True, True, True) if flags is None else flags,
    )


def _array(value: Any) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    raise TypeError("not an array")
