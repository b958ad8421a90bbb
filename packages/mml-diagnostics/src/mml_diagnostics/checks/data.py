"""Checks of the structures in a batch. Each check takes a view of the batch and returns problems."""

import torch
from torch import Tensor

from mml_diagnostics.batch_view import BatchView
from mml_diagnostics.checks.runner import NotApplicableError
from mml_diagnostics.finding import Problem


def fractional_positions(view: BatchView, shortest_bond: float = 1.05) -> list[Problem]:
    """Find structures whose Cartesian positions look like fractional coordinates.

    These are structures of three atoms or more that fit into a box of 1.01 angstrom along each axis, which no
    real structure does; and pairs of atoms without hydrogen that fit and are closer than any bond between
    such atoms.

    Parameters
    ----------
    view
        View of the batch.
    shortest_bond
        Lower limit of bond lengths without hydrogen, in angstrom (CO: 1.13, N2: 1.10).
    """
    counts = view.atom_counts
    low, high = _extent(view)
    extent = high - low
    in_box = (extent <= 1.01).all(dim=1)
    suspicious = in_box & (counts >= 3)
    if view.atomic_numbers is not None:
        lightest = torch.full((view.num_structures,), 200).scatter_reduce(
            0, view.structure_of, view.atomic_numbers, "amin"
        )
        close_pair = (counts == 2) & (extent.norm(dim=1) < shortest_bond) & (lightest > 1)
        suspicious |= in_box & close_pair & (extent.norm(dim=1) > 1e-3)
    return [
        Problem(
            check="fractional_positions",
            severity="error",
            message=f"The {int(counts[i])} atoms of {view.name(i)} fit into a box of "
            f"{' x '.join(f'{size:.2f}' for size in extent[i].tolist())} angstrom, so its positions look "
            "fractional.",
            advice="Positions must be Cartesian, in angstrom. Multiply fractional coordinates by the cell.",
            where=view.name(i),
        )
        for i in _indices(suspicious)
    ]


def overlapping_atoms(view: BatchView, min_distance: float = 0.5) -> list[Problem]:
    """Find structures with an edge that is shorter than any bond.

    Edge vectors are ``pos[dst] + offsets - pos[src]``. An edge of length zero from an atom to itself is a
    self loop and is ignored.

    Parameters
    ----------
    view
        View of the batch.
    min_distance
        Minimum edge length, in angstrom. The shortest bond, in H2, is 0.74.

    Raises
    ------
    NotApplicableError
        If the batch has no edges or no offsets.
    """
    if view.edge_index is None or view.offsets is None:
        raise NotApplicableError("the batch does not have edge_index and offsets")
    src, dst = view.edge_index
    distances = (view.pos[dst] + view.offsets - view.pos[src]).norm(dim=1)
    distances[(src == dst) & (distances < 1e-6)] = torch.inf
    shortest = torch.full((view.num_structures,), torch.inf, dtype=torch.float64)
    shortest = shortest.scatter_reduce(0, view.structure_of[src], distances, "amin")
    problems = []
    for i in _indices(shortest < min_distance):
        edge = int(torch.where(view.structure_of[src] == i, distances, torch.inf).argmin())
        first = int((view.structure_of < i).sum())
        problems.append(
            Problem(
                check="overlapping_atoms",
                severity="warning",
                message=f"Atoms {int(src[edge]) - first} and {int(dst[edge]) - first} of {view.name(i)} are "
                f"{float(shortest[i]):.3f} angstrom apart.",
                advice="Check for a duplicated atom, a wrong cell, or positions in another unit.",
                where=view.name(i),
            )
        )
    return problems


def isolated_nodes(view: BatchView) -> list[Problem]:
    """Find structures with atoms that have no edge. A single non-periodic atom is not reported.

    Raises
    ------
    NotApplicableError
        If the batch has no edges.
    """
    if view.edge_index is None:
        raise NotApplicableError("the batch does not have edge_index")
    touched = torch.zeros(len(view.pos), dtype=torch.bool)
    touched[view.edge_index.flatten()] = True
    isolated = torch.bincount(view.structure_of[~touched], minlength=view.num_structures)
    periodic = torch.zeros(view.num_structures, dtype=torch.bool) if view.pbc is None else view.pbc.any(dim=1)
    counts = view.atom_counts
    return [
        Problem(
            check="isolated_nodes",
            severity="warning",
            message=f"{int(isolated[i])} of the {int(counts[i])} atoms of {view.name(i)} have no edge.",
            advice="The encoder does not see their surroundings. Increase the cutoff radius, or use an "
            "adaptive cutoff.",
            where=view.name(i),
        )
        for i in _indices((isolated > 0) & ((counts > 1) | periodic))
    ]


def duplicate_samples(view: BatchView) -> list[Problem]:
    """Find structures that occur more than once in the batch.

    Two structures are the same if their elements, positions and cells are bitwise equal.
    """
    first_seen: dict[tuple[bytes, ...], int] = {}
    members: dict[int, list[int]] = {}
    for i in range(view.num_structures):
        mine = view.structure_of == i
        parts = [view.pos[mine]]
        if view.atomic_numbers is not None:
            parts.append(view.atomic_numbers[mine])
        if view.cell is not None:
            parts.append(view.cell[i])
        first = first_seen.setdefault(tuple(part.numpy().tobytes() for part in parts), i)
        members.setdefault(first, []).append(i)
    return [
        Problem(
            check="duplicate_samples",
            severity="warning",
            message=f"The batch contains the structure of {view.name(first)} {len(same)} times "
            f"({', '.join(view.name(i) for i in same)}).",
            advice="Check for repeated entries in the data set, or a sampler that draws with replacement.",
            where=view.name(first),
        )
        for first, same in members.items()
        if len(same) > 1
    ]


def _extent(view: BatchView) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest coordinates of each structure, [B, 3] each.

    For a structure without atoms, the lowest coordinates are inf and the highest are -inf.
    """
    index = view.structure_of[:, None].expand(-1, 3)
    high = torch.full((view.num_structures, 3), torch.inf, dtype=view.pos.dtype)
    low = high.scatter_reduce(0, index, view.pos, "amin")
    return low, (-high).scatter_reduce(0, index, view.pos, "amax")


def _indices(mask: Tensor) -> list[int]:
    return [int(i) for i in mask.nonzero().flatten()]
