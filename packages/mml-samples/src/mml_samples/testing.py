"""Structures at the limits of the contract, which every reader, encoder, task and command must accept."""

from __future__ import annotations

import numpy as np

from mml_samples.sample import Sample


def odd_structures() -> dict[str, Sample]:
    """Return structures that are not ordinary crystals, by name. All consist of copper and nickel.

    Returns
    -------
    dict
        New samples with ``atomic_numbers``, ``pos``, ``pbc`` and, unless it is a molecule, ``cell``:

        - ``free_atom``: one atom without a cell; it never has edges
        - ``atom_in_box``: one atom in a box without periodic directions
        - ``far_dimer``: two atoms 30 angstrom apart, without a cell
        - ``molecule``: three atoms without a cell
        - ``wire``: one periodic direction, and a cell with one vector
        - ``slab``: two periodic directions, and a cell with two vectors
        - ``slab_with_vacuum``: two periodic directions, and a cell with three vectors
        - ``one_atom_crystal``: a primitive cell
        - ``sparse_crystal``: one atom in a periodic box of 15 angstrom
        - ``left_handed_crystal``: a primitive cell whose determinant is negative
        - ``outside_cell``: a cubic cell with atoms several cells away
        - ``crystal``: a cubic cell with displaced atoms
    """
    fcc = 1.81 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    cubic = 3.6 * np.eye(3)
    sites = 1.8 * np.array([[0.0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
    layers = np.array([[0.0, 0, 0], [1.28, 0.74, 2.08], [0.0, 1.47, 4.17]])
    surface = np.array([[2.55, 0.0, 0], [1.28, 2.21, 0], [0, 0, 0]])
    third = np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 20]])
    triangle = np.array([[0.0, 0, 0], [2.4, 0, 0], [0, 2.4, 0.1]])
    pushed = sites + np.array([[0.1, 0, 0], [0, -0.12, 0.05], [0, 0, 0], [0, 0.08, 0.1]])
    shifts = 3.6 * np.array([[5, 0, 0], [0, -8, 0], [0, 0, 9], [0, 0, 0]])
    one = np.zeros((1, 3))
    return {
        "free_atom": _sample([29], one, None, (False, False, False)),
        "atom_in_box": _sample([28], one + 5, 15 * np.eye(3), (False, False, False)),
        "far_dimer": _sample([29, 28], [[0, 0, 0], [0, 0, 30]], None, (False, False, False)),
        "molecule": _sample([29, 28, 29], triangle, None, (False, False, False)),
        "wire": _sample([29, 28], [[0, 0, 0], [1.3, 0.4, 0]], np.diag([2.6, 0, 0]), (True, False, False)),
        "slab": _sample([29, 28, 29], layers, surface, (True, True, False)),
        "slab_with_vacuum": _sample([29, 29, 28], layers + 8, surface + third, (True, True, False)),
        "one_atom_crystal": _sample([29], one, fcc, (True, True, True)),
        "sparse_crystal": _sample([28], one, 15 * np.eye(3), (True, True, True)),
        "left_handed_crystal": _sample([28], one, fcc[[1, 0, 2]], (True, True, True)),
        "outside_cell": _sample([29, 29, 28, 28], sites + shifts, cubic, (True, True, True)),
        "crystal": _sample([29, 28, 29, 28], pushed, cubic, (True, True, True)),
    }


def _sample(
    numbers: list[int], positions: object, cell: object | None, pbc: tuple[bool, bool, bool]
) -> Sample:
    sample: Sample = {
        "atomic_numbers": np.array(numbers),
        "pos": np.array(positions, dtype=np.float64),
        "pbc": np.array(pbc),
    }
    return sample if cell is None else {**sample, "cell": np.array(cell, dtype=np.float64)[None]}
