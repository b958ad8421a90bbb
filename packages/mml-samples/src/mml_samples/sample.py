"""Types of a sample and of a batch, with all keys of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = Any
"""NumPy array, torch tensor, or nested lists of numbers.

A type checker treats it as ``Any``, because arrays and tensors have no common type with arithmetic.
"""

Graph: TypeAlias = Any
"""PyG ``Data`` or ``Batch``, or ``DGLGraph``. The libraries have no common type, and both are optional."""


class Sample(TypedDict, total=False):
    """One structure with its labels, from the data set through the transforms to the collate function.

    A sample is a plain dict. It needs ``atomic_numbers`` and ``pos``, or ``structure``; all other keys are
    optional, and a sample may have more keys than these. N is the number of atoms and E the number of
    directed edges. The vector of an edge is ``pos[dst_nodes] + offsets - pos[src_nodes]``.
    """

    atomic_numbers: Array
    """Atomic numbers from 1 to 118, [N] int64."""
    pos: Array
    """Cartesian positions, [N, 3] float, angstrom."""
    frac_coords: Array
    """Fractional positions, [N, 3] float. Accepted instead of ``pos`` if the sample has a cell."""
    cell: Array
    """Lattice vectors as rows, [1, 3, 3] or [3, 3] float, angstrom."""
    pbc: Array
    """Periodic directions, [3] bool. Default: all if the sample has a cell, otherwise none."""
    structure: Any
    """pymatgen ``Structure``. Accepted instead of ``atomic_numbers``, ``pos`` and ``cell``."""
    lattice_params: Array
    """Lengths a, b, c (angstrom) and angles (radians), [6] float. Accepted instead of ``cell``."""
    lattice_features: Array
    """Another name of ``lattice_params``."""
    targets: dict[str, Array]
    """Labels by name: a number, [1, ...] per structure or [N, ...] per atom (see `Kind`). NaN: missing."""
    target_types: dict[str, list[str]]
    """Names of targets under ``"regression"``, ``"classification"`` and ``"pretraining"``."""
    src_nodes: Array
    """Index of the atom to which each edge belongs, [E] int64."""
    dst_nodes: Array
    """Index of the neighbor of each edge, [E] int64."""
    images: Array
    """Lattice translation of each neighbor in whole lattice vectors, [E, 3] float."""
    offsets: Array
    """Lattice translation of each neighbor, ``images @ cell``, [E, 3] float, angstrom."""
    unit_offsets: Array
    """Edge vectors in fractional coordinates, [E, 3] float."""
    distances: Array
    """Lengths of the edge vectors, [E] float, angstrom."""
    cutoff_radius: float
    """Radius of the neighbor search, angstrom. An adaptive cutoff may increase it."""
    tags: Array
    """For slabs: 0 below the surface, 1 surface, 2 adsorbate, -1 unknown, [N] int64."""
    fixed: Array
    """Constrained atoms, [N] bool."""
    charge: float
    """Total charge, e. NaN means missing."""
    spin: float
    """Total spin. NaN means missing."""
    magmom: Array
    """Magnetic moments, [N] float, Bohr magneton. NaN means missing."""
    natoms: int
    """Number of atoms N."""
    sample_id: str
    """Name of the sample in messages."""
    extra: dict[str, Any]
    """Any other data. Never required, and samples of a batch may have different ones."""
    graph: Graph
    """Graph with the atoms and edges of the sample."""


class Batch(TypedDict, total=False):
    """B samples, joined by a collate function. All arrays are tensors.

    Arrays of atoms and edges are concatenated, and the atom indices of edges are shifted. N is the number of
    atoms and E the number of directed edges of the whole batch. A batch may have more keys than these.
    """

    atomic_numbers: Tensor
    """Atomic numbers, [N] int64."""
    pos: Tensor
    """Cartesian positions, [N, 3], angstrom."""
    cell: Tensor
    """Lattice vectors as rows, [B, 3, 3], angstrom."""
    pbc: Tensor
    """Periodic directions, [B, 3] bool."""
    natoms: Tensor
    """Number of atoms of each structure, [B] int64."""
    targets: dict[str, Tensor]
    """Labels by name: [B, 1] or [B, ...] per structure, [N, ...] per atom. NaN means missing."""
    target_types: dict[str, list[str]]
    """Names of targets under ``"regression"``, ``"classification"`` and ``"pretraining"``."""
    src_nodes: Tensor
    """Index of the atom to which each edge belongs, [E] int64."""
    dst_nodes: Tensor
    """Index of the neighbor of each edge, [E] int64."""
    images: Tensor
    """Lattice translation of each neighbor in whole lattice vectors, [E, 3]."""
    offsets: Tensor
    """Lattice translation of each neighbor, [E, 3], angstrom."""
    unit_offsets: Tensor
    """Edge vectors in fractional coordinates, [E, 3]."""
    distances: Tensor
    """Lengths of the edge vectors, [E], angstrom."""
    cutoff_radius: Tensor
    """Radius of the neighbor search of each structure, [B, 1], angstrom."""
    tags: Tensor
    """Tags of the atoms, [N] int64."""
    fixed: Tensor
    """Constrained atoms, [N] bool."""
    charge: Tensor
    """Total charge of each structure, [B, 1], e."""
    spin: Tensor
    """Total spin of each structure, [B, 1]."""
    magmom: Tensor
    """Magnetic moments, [N], Bohr magneton."""
    sample_id: list[str]
    """Names of the samples in messages."""
    extra: list[dict[str, Any]]
    """Other data of each sample."""
    graph: Graph
    """Batch of the graph library."""
