"""Find the neighbors of a sample, with or without periodic boundary conditions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from mml_samples import Sample, sample_name, warn_counted
from numpy.typing import NDArray

from mml_graphs._repr import pasteable_repr
from mml_graphs.neighbors import native
from mml_graphs.neighbors.adaptive import LIMIT, adaptive_edges, name_atoms
from mml_graphs.neighbors.connected import connected_edges
from mml_graphs.neighbors.edges import Edges, nearest_neighbors, one_per_pair, with_self_loops
from mml_graphs.neighbors.find_edges import check_backend, check_cutoff
from mml_graphs.neighbors.native import Batch, StructureError
from mml_graphs.sample import with_keys
from mml_graphs.sample_tensors import sample_tensors
from mml_graphs.skin import NeighborsWithSkin
from mml_graphs.structure_edges import Selection, find_structure_edges
from mml_graphs.structures import Structures, read_named, read_structures

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
        Neighbor search: ``"auto"`` (the fastest available one), ``"native"`` (in C), ``"numpy"``,
        ``"pymatgen"``, ``"vesin"`` or ``"ase"``. All backends find the same edges.
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
        backend: Literal["auto", "native", "numpy", "pymatgen", "vesin", "ase"] = "auto",
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
        structures = self.read([sample])
        edges, cutoffs = self.find([sample], structures)
        return self.add_edges(sample, structures, edges, float(cutoffs[0]))

    def with_skin(self, skin: float | None = None) -> PeriodicPropertiesTransform | NeighborsWithSkin:
        """Return a transform for the successive steps of a simulation, with the same results.

        Parameters
        ----------
        skin
            Width of the skin of a neighbor list that is used for several steps, angstrom. ``None`` selects
            the fastest way: this transform itself if it uses the native search, which takes less time than
            selecting edges from a list, and otherwise a skin of 1 angstrom.

        Raises
        ------
        ValueError
            If the skin is not positive and finite.
        """
        if skin is None and native.is_used(self.backend):
            return self
        return NeighborsWithSkin(self, 1.0 if skin is None else skin)

    def add_edges(self, sample: Sample, structures: Structures, edges: Batch, cutoff: float) -> Sample:
        """Return a copy of the sample with the given edges of its structure."""
        tensors = sample_tensors(structures, edges)
        del tensors["edge_index"]
        pbc = torch.from_numpy(structures.pbc[0])
        return with_keys(sample, {**tensors, "pbc": pbc, "cutoff_radius": cutoff})

    def read(self, samples: Sequence[Sample]) -> Structures:
        """Read the structures of samples, see `mml_graphs.structures.read_structures`."""
        return read_structures(samples, self.is_cartesian, self.convert_to_unit_cell)

    def find(self, samples: Sequence[Sample], structures: Structures) -> tuple[Batch, NDArray[np.float64]]:
        """Find the edges of the structures that `read` returned for samples.

        Returns
        -------
        edges, cutoffs
            Edges, with floats as in `mml_graphs.sample_tensors.float_dtype`, and the cutoffs [B] with which
            they were found, angstrom.

        Raises
        ------
        ValueError
            If a structure is invalid, see the class. The message begins with the sample's name.
        """
        cutoffs = np.full(len(samples), self.cutoff_radius)
        try:
            if self.connectivity == "graph":
                self._grow(structures, cutoffs, range(len(samples)))
            edges = find_structure_edges(structures, cutoffs, self.backend, self._selection)
            lonely: list[int] = []
            if not edges.degrees.all():
                lonely = [*np.unique(structures.owners(np.flatnonzero(edges.degrees == 0))).tolist()]
                if self.adaptive_cutoff and self._grow(structures, cutoffs, lonely):
                    edges = find_structure_edges(structures, cutoffs, self.backend, self._selection)
        except StructureError as error:
            sample = samples[error.structure]
            read_named(sample, self.is_cartesian)  # describes some errors more precisely
            raise ValueError(f"{sample_name(sample)}: {error}") from error
        for index in lonely if self.on_isolated != "allow" else ():
            start, end = structures.starts[index : index + 2]
            is_free = self.adaptive_cutoff and end - start == 1 and not structures.pbc[index].any()
            if not is_free:
                self._report_isolated(samples[index], np.flatnonzero(edges.degrees[start:end] == 0))
        return edges, cutoffs

    def _grow(self, structures: Structures, cutoffs: NDArray[np.float64], members: Iterable[int]) -> bool:
        """Increase the cutoffs of some structures, and return whether any cutoff changed."""
        before = cutoffs.copy()
        grow = connected_edges if self.connectivity == "graph" else adaptive_edges
        for index in members:
            try:
                cutoffs[index] = grow(*structures.one(index), self.cutoff_radius, self.backend)[1]
            except ValueError as error:
                raise StructureError(index, str(error)) from error
        return bool((cutoffs != before).any())

    @property
    def _selection(self) -> Selection | None:
        is_needed = self.max_neighbors is not None or self.is_undirected or self.allow_self_loops
        return self.select if is_needed else None

    def select(self, edges: Edges, num_atoms: int) -> Edges:
        """Apply ``max_neighbors``, ``is_undirected`` and ``allow_self_loops`` to the edges in the cutoff."""
        if self.max_neighbors is not None:
            symmetric = self.symmetric or self.is_undirected
            edges = nearest_neighbors(edges, num_atoms, self.max_neighbors, self.tie_tolerance, symmetric)
        if self.is_undirected:
            edges = one_per_pair(edges)
        if self.allow_self_loops:
            edges = with_self_loops(edges, num_atoms)
        return edges

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
            raise ValueError(f"{sample_name(sample)}: {found}. {remedy}")
        warn_counted(logger, "samples with isolated atoms", f"{sample_name(sample)}: {found}")

    def __repr__(self) -> str:
        return pasteable_repr(self)
