"""Create the embedded data set ``emt``: metals and alloys with energy, forces and stress of a toy potential.

It contains fcc, bcc, L1_2, L1_0 and B2 crystals of Al, Ni, Cu, Pd, Ag, Pt, Au and their binary and ternary
alloys. They are undistorted, or strained and rattled supercells of 2 to 64 atoms, some with vacancies. ASE's
calculator for effective-medium theory (EMT) computes the labels. The split is by family: all structures with
the same set of elements are in the same split.

    uv run --no-sync python tools/devsets/emt.py [--out DIR] [--check]

The result is the same every time, byte for byte: each structure has a separate random generator, positions
and cells are rounded to float32 before the calculation, and labels are rounded far above the last bit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.data import atomic_numbers
from devset_build import main, reduced_formula  # type: ignore[import-not-found]  # in this folder

Sample = dict[str, Any]
Family = tuple[str, ...]

SEED = 2026
#: EMT equilibrium lattice parameters of the fcc and the bcc crystal, angstrom (stress below 1e-4 eV/A^3)
LATTICE_PARAMETER = {
    "Al": {"fcc": 3.9943, "bcc": 3.1213},
    "Ni": {"fcc": 3.4871, "bcc": 2.7742},
    "Cu": {"fcc": 3.5898, "bcc": 2.8554},
    "Pd": {"fcc": 3.8787, "bcc": 3.0891},
    "Ag": {"fcc": 4.0636, "bcc": 3.2294},
    "Pt": {"fcc": 3.9218, "bcc": 3.1223},
    "Au": {"fcc": 4.0562, "bcc": 3.2251},
}
#: Binaries whose two elements never occur together in a training structure, not even in a ternary
HELD_OUT_PAIRS = {
    "test": ["Cu-Au", "Ni-Pd", "Al-Pt", "Ag-Pt"],
    "val": ["Al-Au", "Cu-Pd", "Ni-Ag"],
}
TERNARIES = {
    "train": ["Al-Ni-Cu", "Al-Cu-Ag", "Al-Pd-Ag", "Pd-Ag-Au", "Pd-Pt-Au", "Ni-Cu-Pt", "Ni-Pt-Au"],
    "test": ["Cu-Ag-Au", "Al-Ni-Pd", "Ni-Pd-Pt"],
    "val": ["Al-Cu-Pd", "Pd-Ag-Pt"],
}
#: Number of structures of a family, by its number of elements
COUNT = {1: 42, 2: 45, 3: 24}

#: Fractional coordinates of the conventional cells; the first site of fcc is the corner of L1_2 ...
BASIS = {
    "fcc": np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "bcc": np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
}
#: ... and the sublattice, 0 or 1, of each site of the conventional cell.
SUBLATTICES = {
    "L1_2": ("fcc", (0, 1, 1, 1)),
    "L1_0": ("fcc", (0, 1, 1, 0)),
    "B2": ("bcc", (0, 1)),
}
REPEATS = [
    (1, 1, 1), (2, 1, 1), (3, 1, 1), (2, 2, 1), (3, 2, 1), (2, 2, 2),
    (3, 3, 1), (3, 2, 2), (4, 2, 2), (3, 3, 3), (4, 4, 2),
]  # fmt: skip
MAX_STRAIN = 0.05
MEAN_SIZE = 24.0  # a supercell of n atoms is drawn with odds exp(-n / 24)
RATTLE = (0.02, 0.25)  # standard deviation of a displacement component, angstrom
CLOSEST = 0.78  # shortest distance of two atoms over that in their fcc crystals, averaged


@dataclass(frozen=True)
class Recipe:
    """The parameters of the k-th structure of a family."""

    prototype: str
    strained: bool
    rattled: bool
    vacancy: bool


def families() -> Iterator[tuple[Family, str]]:
    """All element sets of the data set, each with its split."""
    elements = list(LATTICE_PARAMETER)
    for element in elements:
        yield (element,), "train"
    held_out = {pair: split for split, pairs in HELD_OUT_PAIRS.items() for pair in pairs}
    for i, first in enumerate(elements):
        for second in elements[i + 1 :]:
            yield (first, second), held_out.get(f"{first}-{second}", "train")
    for split, ternaries in TERNARIES.items():
        for ternary in ternaries:
            yield tuple(ternary.split("-")), split


def prototypes(family: Family) -> list[str]:
    """Names of the prototype crystals of a family. In an alloy, fcc and bcc are random solutions."""
    return ["fcc", "bcc"] if len(family) == 1 else ["fcc", "L1_2", "L1_0", "bcc", "B2"]


def recipe(family: Family, k: int, rng: np.random.Generator) -> Recipe:
    """First one undistorted crystal of each prototype, then distorted ones, most of them rattled."""
    names = prototypes(family)
    if k < len(names):
        return Recipe(names[k], strained=False, rattled=False, vacancy=False)
    rattled = rng.random() < 0.94
    return Recipe(
        names[k % len(names)],
        strained=not rattled or rng.random() < 0.75,
        rattled=rattled,
        vacancy=rng.random() < 0.25,
    )


def decorate(prototype: str, family: Family, num_cells: int, rng: np.random.Generator) -> list[str]:
    """Put each element of the family at least once on the sites of ``num_cells`` conventional cells."""
    if len(family) == 1:
        n_sites = len(BASIS[prototype])
        return list(family) * (n_sites * num_cells)
    while True:
        if prototype in SUBLATTICES:
            # With two elements, each has a sublattice. With three, two share a sublattice at random.
            shuffled = [family[i] for i in rng.permutation(len(family))]
            owners = [shuffled[:1], shuffled[1:]]
            sites = [owners[s] for s in SUBLATTICES[prototype][1]] * num_cells
            symbols = [str(owner[rng.integers(len(owner))]) for owner in sites]
        else:
            n_sites = len(BASIS[prototype]) * num_cells
            odds = rng.dirichlet([2.0] * len(family))
            symbols = [family[i] for i in rng.choice(len(family), size=n_sites, p=odds)]
        if set(symbols) == set(family):
            return symbols


def strain(rng: np.random.Generator) -> np.ndarray:
    """Symmetric strain [3, 3] within +-5 %: isotropic, orthorhombic, shear or all of them."""
    mode = rng.integers(4)
    eps = np.zeros((3, 3))
    if mode == 0:
        np.fill_diagonal(eps, rng.uniform(-MAX_STRAIN, MAX_STRAIN))
    if mode in (1, 3):
        np.fill_diagonal(eps, rng.uniform(-MAX_STRAIN, MAX_STRAIN, size=3))
    if mode in (2, 3):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            eps[i, j] = eps[j, i] = rng.uniform(-MAX_STRAIN, MAX_STRAIN)
    return eps


def round_lengths(values: np.ndarray) -> np.ndarray:
    """Round to 1e-5 angstrom, then to the stored float32, and return float64."""
    return (np.round(values, 5) + 0.0).astype(np.float32).astype(np.float64)


def make_structure(family: Family, plan: Recipe, rng: np.random.Generator) -> Atoms:
    """Crystal of 2 to 64 atoms, with positions and cell exact in float32 and no two atoms too close."""
    lattice = SUBLATTICES[plan.prototype][0] if plan.prototype in SUBLATTICES else plan.prototype
    basis = BASIS[lattice]
    # With fewer than eight sites, a random decoration is often an ordered crystal.
    disordered = len(family) > 1 and plan.prototype not in SUBLATTICES
    smallest = 8 if plan.vacancy or disordered else max(len(family), 2)
    fitting = [r for r in REPEATS if smallest <= len(basis) * np.prod(r) <= 64]
    odds = np.array([np.exp(-len(basis) * np.prod(r) / MEAN_SIZE) for r in fitting])
    while True:
        repeat = fitting[0] if not plan.rattled and not plan.strained else _choose(fitting, odds, rng)
        shifts = np.array(list(np.ndindex(*repeat)), dtype=float)
        symbols = decorate(plan.prototype, family, len(shifts), rng)
        a = sum(LATTICE_PARAMETER[s][lattice] for s in symbols) / len(symbols)
        deformation = a * (np.eye(3) + (strain(rng) if plan.strained else 0.0))
        cell = np.array(repeat)[:, None] * deformation
        pos = _rows_times(np.concatenate([basis + shift for shift in shifts]), deformation)
        if plan.rattled:
            sigma = rng.uniform(*RATTLE)
            pos = pos + sigma * np.clip(rng.standard_normal(pos.shape), -2.0, 2.0)
        atoms = Atoms(symbols, positions=round_lengths(pos), cell=round_lengths(cell), pbc=True)
        if plan.vacancy:
            del atoms[int(rng.integers(len(atoms)))]
        if set(atoms.symbols) == set(family) and closest_approach(atoms) >= CLOSEST:
            return atoms


def _choose(
    options: list[tuple[int, int, int]], odds: np.ndarray, rng: np.random.Generator
) -> tuple[int, int, int]:
    return options[rng.choice(len(options), p=odds / odds.sum())]


def _rows_times(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    # Written out instead of a matrix product, because BLAS libraries differ in the last bit.
    return rows[:, :1] * matrix[0] + rows[:, 1:2] * matrix[1] + rows[:, 2:] * matrix[2]


def closest_approach(atoms: Atoms) -> float:
    """Smallest ratio of a distance of two atoms or images to the distance in their fcc crystals, averaged."""
    images = np.array(list(np.ndindex(3, 3, 3)), dtype=float) - 1.0
    vectors = _rows_times(images, np.asarray(atoms.cell))
    between = atoms.positions[None, :, None] - atoms.positions[:, None, None] + vectors
    lengths = np.sqrt((between**2).sum(axis=-1))
    radii = np.array([LATTICE_PARAMETER[s]["fcc"] / np.sqrt(8.0) for s in atoms.symbols])
    ratios = lengths / (radii[:, None] + radii)[:, :, None]
    return float(ratios[lengths > 0].min())


def label(atoms: Atoms) -> dict[str, Any]:
    """Energy (eV), forces [N, 3] (eV/A) and stress [1, 3, 3] (eV/A^3, ASE's sign) of EMT, rounded."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    return {
        "energy": round(float(atoms.get_potential_energy()), 6) + 0.0,
        "force": (np.round(atoms.get_forces(), 5) + 0.0).astype(np.float32),  # + 0.0 removes minus zeros
        "stress": (np.round(atoms.get_stress(voigt=False), 7) + 0.0).astype(np.float32)[None],
    }


def make_sample(family: Family, k: int) -> Sample:
    """Create the k-th sample of a family. It depends only on these two values and on SEED."""
    rng = np.random.default_rng([SEED, *(atomic_numbers[s] for s in family), k])
    plan = recipe(family, k, rng)
    atoms = make_structure(family, plan, rng)
    return {
        "atomic_numbers": atoms.numbers.astype(np.uint8),
        "pos": atoms.positions.astype(np.float32),
        "cell": np.asarray(atoms.cell)[None].astype(np.float32),
        "pbc": np.ones(3, dtype=bool),
        "targets": label(atoms),
        "target_types": {"regression": ["energy", "force", "stress"], "classification": []},
        "extra": {
            "prototype": plan.prototype,
            "family": "-".join(family),
            "formula": reduced_formula(list(atoms.symbols)),
        },
    }


def samples() -> Iterator[tuple[str, Sample]]:
    """All samples in order, each with the name of its split."""
    for family, split in families():
        for k in range(COUNT[len(family)]):
            yield split, make_sample(family, k)


def source() -> dict[str, str]:
    """Origin of the data, for the manifest."""
    return {
        "origin": "tools/devsets/emt.py",
        "license": "MIT",
        "calculator": f"ase.calculators.emt.EMT of ASE {ase.__version__}",
        "notes": (
            "Effective-medium-theory (EMT) potential of Jacobsen, Stoltze, Norskov (Surf. Sci. 366, "
            f"394, 1996) as in ASE {ase.__version__}: a classical toy potential, good for testing a "
            "training chain, not for materials science. Crystals (fcc, bcc, L1_2, L1_0, B2) of Al, "
            "Ni, Cu, Pd, Ag, Pt, Au and their binary and ternary alloys: undistorted, strained, "
            "rattled, with vacancies. Energies are relative to the fcc elements. The split is by "
            "family (set of elements): no family is in two splits, and the pairs of the binaries in "
            "test and val are in no training structure at all."
        ),
    }


if __name__ == "__main__":
    sys.exit(main("emt", samples(), source()))
