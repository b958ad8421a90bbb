"""Find the neighbors of the successive samples of a simulation, and search again only after some motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from mml_samples import Sample
from numpy.typing import NDArray

from mml_graphs.neighbors.adaptive import first_step
from mml_graphs.neighbors.edges import Edges, edge_lengths, nearest_lengths
from mml_graphs.neighbors.lattice import Cell
from mml_graphs.neighbors.native import Batch
from mml_graphs.structure_edges import search_in_order, with_geometry
from mml_graphs.structures import Structures

Floats = NDArray[np.float64]


class _Neighbors(Protocol):
    """The parts of `PeriodicPropertiesTransform` that `NeighborsWithSkin` uses."""

    cutoff_radius: float
    adaptive_cutoff: bool
    connectivity: Any
    backend: Any

    def read(self, samples: Sequence[Sample]) -> Structures: ...
    def find(self, samples: Sequence[Sample], structures: Structures) -> tuple[Batch, Floats]: ...
    def select(self, edges: Edges, num_atoms: int) -> Edges: ...
    def add_edges(self, sample: Sample, structures: Structures, edges: Batch, cutoff: float) -> Sample: ...


class NeighborsWithSkin:
    """Transform for the successive steps of a simulation, with the results of `PeriodicPropertiesTransform`.

    The edges of a step are selected from a list of all pairs within the cutoff plus a skin (Verlet, Phys.
    Rev. 159, 98 (1967)), by their exact lengths at this step. The list is complete as long as no atom has
    moved by more than half of the skin. It is built again as soon as an atom has moved farther, or the cell,
    the periodicity or the elements have changed.

    Every step is searched anew, without a list, if an atom has no neighbor, if an adaptive cutoff exceeds the
    one of the list, or with ``connectivity="graph"``.

    Parameters
    ----------
    neighbors
        Transform whose edges are found.
    skin
        Width of the skin, angstrom.

    Attributes
    ----------
    num_searches
        Number of samples for which the list could not be used.

    Raises
    ------
    ValueError
        If the skin is not positive and finite.
    """

    is_random = False

    def __init__(self, neighbors: _Neighbors, skin: float) -> None:
        if not (math.isfinite(skin) and skin > 0):
            raise ValueError(f"skin must be positive and finite, in angstrom, got {skin!r}")
        self.neighbors = neighbors
        self.skin = float(skin)
        self.num_searches = 0
        self._kept: tuple[Structures, Cell, Edges, float] | None = None  # the list and its radius

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with its edges."""
        structures = self.neighbors.read([sample])
        found = self._from_list(structures)
        if found is None:
            self.num_searches += 1
            edges, cutoffs = self.neighbors.find([sample], structures)
            self._keep(structures, float(cutoffs[0]))
            return self.neighbors.add_edges(sample, structures, edges, float(cutoffs[0]))
        kept, cutoff = found
        degrees = np.bincount(kept.src, minlength=len(structures.positions))
        kept = self.neighbors.select(kept, len(structures.positions))
        return self.neighbors.add_edges(sample, structures, with_geometry(structures, kept, degrees), cutoff)

    def _keep(self, structures: Structures, cutoff: float) -> None:
        positions, cell = structures.one(0)
        radius = cutoff + self.skin
        self._kept = (
            structures,
            cell,
            search_in_order(positions, cell, radius, self.neighbors.backend),
            radius,
        )

    def _from_list(self, structures: Structures) -> tuple[Edges, float] | None:
        """Return the edges within the cutoff, and the cutoff, or ``None`` if the list is not complete."""
        if self._kept is None or self.neighbors.connectivity == "graph":
            return None
        before, cell, edges, radius = self._kept
        if not all(map(np.array_equal, structures[3:] + structures[1:2], before[3:] + before[1:2])):
            return None
        moved = np.square(structures.positions - before.positions).sum(axis=1)
        if not moved.max() <= (self.skin / 2) ** 2:
            return None
        edges = edges._replace(distances=edge_lengths(structures.positions, cell, *edges[:3]))
        needed = float(nearest_lengths(edges, len(structures.positions)).max())
        cutoff = self.neighbors.cutoff_radius
        if needed > cutoff:
            if not self.neighbors.adaptive_cutoff or math.isinf(needed):
                return None
            cutoff = first_step(cutoff, needed)
            if cutoff > radius - self.skin:
                return None
        return edges.take(edges.distances <= cutoff), cutoff
