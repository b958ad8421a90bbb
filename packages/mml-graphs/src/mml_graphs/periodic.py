"""Find the neighbors of a sample, with or without periodic boundary conditions."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
from mml_samples import Sample, sample_name, warn_counted, warn_once
from numpy.typing import NDArray

from mml_graphs._repr import pasteable_repr
from mml_graphs.neighbors.adaptive import LIMIT, adaptive_edges, name_atoms
from mml_graphs.neighbors.connected import connected_edges
from mml_graphs.neighbors.edges import (
    Edges,
    isolated_atoms,
    nearest_neighbors,
    one_per_pair,
    with_exact_lengths,
    with_self_loops,
)
from mml_graphs.neighbors.find_edges import check_backend, check_cutoff, search, wrap
from mml_graphs.neighbors.lattice import Cell, complete_cell
from mml_graphs.sample import Structure, read_structure, with_keys
from mml_graphs.sample_tensors import Arrays, as_tensors, edge_geometry, sample_arrays

logger = logging.getLogger(__name__)

ON_ISOLATED = ("warn", "raise", "allow")
CONNECTIVITY = ("atoms", "graph")


class PeriodicPropertiesTransform:
    """Find all pairs of atoms within a cutoff, periodic images included, and add them to the sample as edges.

    Adds ``src_nodes``, ``dst_nodes`` [E] int64 (sorted by source), ``images``, ``offsets``, ``unit_offsets``
    [E, 3], ``distances`` [E] and ``cutoff_radius``. Rewrites ``atomic_numbers`` [N], ``pos`` [N, 3], ``cell``
    [1, 3, 3] (zeros for a molecule) and ``pbc`` [3] in their canonical form. The edge vector is
    ``pos[dst] + offsets - pos[src]``. The search runs in float64, and floats are returned in torch's default
    dtype. The input sample is not changed.

    If a direction is not periodic and the cell has no vector for it, ``unit_offsets`` use a unit vector that
    is normal to the periodic lattice vectors.

    Parameters
    ----------
    cutoff_radius
        Largest distance of an edge, angstrom, inclusive.
    adaptive_cutoff
        If ``True`` and an atom has no neighbor, increase the cutoff in steps of 0.5 angstrom, up to 100
        angstrom, until every atom has a neighbor. The final cutoff is stored in ``cutoff_radius``. In a
        structure without periodic directions, atoms with no other atom within 100 angstrom have no edges and
        do not increase the cutoff. A single free atom therefore keeps the nominal cutoff.
    backend
        Neighbor search: ``"auto"`` (the fastest for each structure), ``"numpy"``, ``"pymatgen"``, ``"vesin"``
        or ``"ase"``. All backends find the same edges.
    max_neighbors
        Maximum number of neighbors per source atom. Neighbors tied with the k-th are kept as well. ``None``
        keeps all.
    allow_self_loops
        If ``True``, add an edge of length zero from each atom to itself. It does not count as a neighbor.
    convert_to_unit_cell
        If ``True``, move atoms into the cell along its periodic directions. ``pos`` changes accordingly.
    is_cartesian
        ``False`` if ``pos`` contains fractional coordinates. ``True`` and ``None`` mean Cartesian
        coordinates. With ``None``, the first sample whose positions look fractional is reported in the log.
    is_undirected
        If ``True``, list each pair once, from the lower atom index to the higher. With ``max_neighbors``, a
        pair is kept if at least one of its atoms keeps it.
    symmetric
        If ``True`` and ``max_neighbors`` is set, keep an edge if at least one of its atoms keeps it, so that
        the graph contains the reverse of every edge.
    tie_tolerance
        Neighbors whose distances differ by at most this much are tied, angstrom.
    on_isolated
        Action for atoms without a neighbor: ``"warn"`` logs a warning, ``"raise"`` raises an error,
        ``"allow"`` does nothing. With an adaptive cutoff, a single free atom is always allowed.
    connectivity
        Stopping criterion of the adaptive cutoff. ``"atoms"`` stops once every atom has a neighbor.
        ``"graph"`` also requires that the graph of the infinite crystal is connected, so that layers, chains
        and molecules have edges to one another, and every atom is connected to all of its images along the
        periodic directions. All edges within the cutoff count for this criterion, including those that
        ``max_neighbors`` removes; self loops do not. ``"graph"`` requires ``adaptive_cutoff=True``.

    Raises
    ------
    ValueError
        If an argument is invalid or a sample's structure is invalid. The message names the sample, the key
        and the value.
    ImportError
        If the backend is not installed. The message contains the install command.
    """

    is_random = False

    def __init__(
        self,
        cutoff_radius: float,
        adaptive_cutoff: bool = False,
        backend: Literal["auto", "numpy", "pymatgen", "vesin", "ase"] = "auto",
        max_neighbors: int | None = None,
        allow_self_loops: bool = False,
        convert_to_unit_cell: bool = False,
        is_cartesian: bool | None = None,
        is_undirected: bool = False,
        symmetric: bool = False,
        tie_tolerance: float = 0.01,
        on_isolated: Literal["warn", "raise", "allow"] = "warn",
        connectivity: Literal["atoms", "graph"] = "atoms",
    ) -> None:
        check_cutoff(cutoff_radius)
        check_backend(backend)
        if max_neighbors is not None and not (type(max_neighbors) is int and max_neighbors >= 1):
            raise ValueError(
                f"max_neighbors must be a positive integer, or None to keep all, got {max_neighbors!r}"
            )
        if not tie_tolerance >= 0:
            raise ValueError(
                f"tie_tolerance must be a non-negative length in angstrom, got {tie_tolerance!r}"
            )
        if on_isolated not in ON_ISOLATED:
            raise ValueError(
                f"on_isolated must be one of {', '.join(map(repr, ON_ISOLATED))}, got {on_isolated!r}"
            )
        if connectivity not in CONNECTIVITY:
            raise ValueError(
                f"connectivity must be one of {', '.join(map(repr, CONNECTIVITY))}, got {connectivity!r}"
            )
        if connectivity == "graph" and not adaptive_cutoff:
            raise ValueError(
                "connectivity='graph' requires adaptive_cutoff=True, because it increases the cutoff"
            )
        self.cutoff_radius = float(cutoff_radius)
        self.adaptive_cutoff = adaptive_cutoff
        self.backend = backend
        self.max_neighbors = max_neighbors
        self.allow_self_loops = allow_self_loops
        self.convert_to_unit_cell = convert_to_unit_cell
        self.is_cartesian = is_cartesian
        self.is_undirected = is_undirected
        self.symmetric = symmetric
        self.tie_tolerance = float(tie_tolerance)
        self.on_isolated = on_isolated
        self.connectivity = connectivity

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with its edges."""
        structure, cell = self.read(sample)
        arrays, cutoff = self.find(sample, structure, cell)
        tensors = as_tensors(arrays | {"pbc": arrays["pbc"][0]})
        return with_keys(sample, {**tensors, "cutoff_radius": cutoff})

    def read(self, sample: Sample) -> tuple[Structure, Cell]:
        """Read and check the structure of a sample.

        Raises
        ------
        ValueError
            If the structure is invalid. The message begins with the sample's name.
        """
        try:
            structure = read_structure(sample, self.is_cartesian)
            cell = complete_cell(structure.cell, structure.pbc)
            if self.is_cartesian is None:
                _mention_fractional(sample, structure)
            if self.convert_to_unit_cell:
                structure = structure._replace(positions=wrap(structure.positions, cell)[0])
        except ValueError as error:
            raise ValueError(f"{sample_name(sample)}: {error}") from error
        return structure, cell

    def find(self, sample: Sample, structure: Structure, cell: Cell) -> tuple[Arrays, float]:
        """Find the edges of a sample.

        Parameters
        ----------
        sample
            Sample that is named in messages.
        structure, cell
            Structure and completed cell from `read`.

        Returns
        -------
        arrays, cutoff
            Arrays from `mml_graphs.sample_tensors.sample_arrays`, for a batch of one, and the cutoff with
            which the edges were found, angstrom.

        Raises
        ------
        ValueError
            If the structure is invalid, see the class. The message begins with the sample's name.
        """
        positions = structure.positions
        try:
            edges, cutoff = self._edges(sample, positions, cell)
        except ValueError as error:
            raise ValueError(f"{sample_name(sample)}: {error}") from error
        numbers, _, matrix, pbc = structure
        geometry = edge_geometry(positions, cell, edges)
        return sample_arrays(numbers, positions, matrix, [pbc], edges, *geometry), cutoff

    def _edges(self, sample: Sample, positions: NDArray[np.float64], cell: Cell) -> tuple[Edges, float]:
        num_atoms = len(positions)
        if self.adaptive_cutoff:
            grow = connected_edges if self.connectivity == "graph" else adaptive_edges
            edges, cutoff = grow(positions, cell, self.cutoff_radius, self.backend)
            is_free = num_atoms == 1 and not any(cell.pbc)
        else:
            edges, cutoff = search(positions, cell, self.cutoff_radius, self.backend), self.cutoff_radius
            is_free = False
        if self.on_isolated != "allow" and not is_free:
            self._report_isolated(sample, isolated_atoms(edges, num_atoms))
        if self.max_neighbors is not None:
            symmetric = self.symmetric or self.is_undirected
            edges = with_exact_lengths(positions, cell, edges)
            edges = nearest_neighbors(edges, num_atoms, self.max_neighbors, self.tie_tolerance, symmetric)
        if self.is_undirected:
            edges = one_per_pair(edges)
        if self.allow_self_loops:
            edges = with_self_loops(edges, num_atoms)
        return edges, cutoff

    def _report_isolated(self, sample: Sample, atoms: NDArray[np.int64]) -> None:
        if not atoms.size:
            return
        reach = max(self.cutoff_radius, LIMIT) if self.adaptive_cutoff else self.cutoff_radius
        found = f"{name_atoms(atoms)} no neighbor within {reach:g} angstrom"
        if self.on_isolated == "raise":
            remedy = (
                "Check the positions, or pass on_isolated='allow'."
                if self.adaptive_cutoff
                else "Increase cutoff_radius, or pass adaptive_cutoff=True."
            )
            raise ValueError(f"{found}. {remedy}")
        warn_counted(logger, "samples with isolated atoms", f"{sample_name(sample)}: {found}")

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _mention_fractional(sample: Sample, structure: Structure) -> None:
    if structure.cell is None or "pos" not in sample or len(structure.positions) < 2:
        return
    if not all(0 <= coordinate <= 1 for coordinate in structure.positions[-1].tolist()):
        return  # in most samples, checking this one atom is enough
    if structure.positions.min() < 0 or structure.positions.max() > 1:
        return
    if np.linalg.norm(structure.cell, axis=1).min() > 2:
        warn_once(
            logger,
            "fractional",
            f"{sample_name(sample)}: all values of 'pos' are between 0 and 1, in a cell of several "
            "angstrom. They are used as Cartesian coordinates. Pass is_cartesian=False if they are "
            "fractional, "
            "or is_cartesian=True if they are Cartesian.",
        )
