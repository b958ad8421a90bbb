"""Create the embedded data set ``prototypes``: hypothetical crystals, labeled by geometry.

It contains every AFLOW prototype structure in pymatgen with up to 64 atoms, as published and with up to three
other decorations. A decoration replaces each element by another of the same kind (a halogen by a halogen, for
example) and scales the cell by the covalent radii. The labels are space group number and crystal system (from
spglib), density and volume per atom. All decorations of a prototype are in the same split.

    uv run --no-sync python tools/devsets/prototypes.py [--out DIR] [--check]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_masses, covalent_radii
from ase.units import kg
from devset_build import main, reduced_formula  # type: ignore[import-not-found]  # in this folder
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

Sample = dict[str, Any]

SEED = 2026
MAX_ATOMS = 64
DECORATIONS = 4  # per prototype, including the published structure
ATTEMPTS = 40
CLOSEST = 0.65  # shortest distance of two atoms over the sum of their covalent radii
LARGEST = 100.0  # volume per atom of a new decoration, angstrom^3
#: symprec of spglib, angstrom. All of them must result in the space group in the prototype's name.
TOLERANCES = (0.001, 0.01, 0.05)
HELD_OUT = {"test": 0.14, "val": 0.10}  # fractions of the prototypes of each crystal system

UNITS = {"targets.density": "g/cm^3", "targets.volume_per_atom": "angstrom^3"}
CRYSTAL_SYSTEMS = ["triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic"]
#: Last space group of each crystal system but cubic (International Tables for Crystallography, volume A)
LAST_GROUPS = [2, 15, 74, 142, 167, 194]

#: An element is replaced only by another one of the same group.
KINDS = [
    "Li Na K Rb Cs", "Be Mg Ca Sr Ba", "Sc Y La Ce Pr Nd Sm Gd Tb Dy Ho Er Tm Lu", "Th Pa U Np Pu",
    "Ti Zr Hf", "V Nb Ta", "Cr Mo W", "Mn Fe Co Ni", "Re Ru Rh Pd Os Ir Pt", "Cu Ag Au", "Zn Cd Hg",
    "B Al Ga In Tl", "C Si Ge Sn Pb", "N P As Sb Bi", "O S Se Te", "F Cl Br I",
]  # fmt: skip
KIND_OF = {symbol: kind.split() for kind in KINDS for symbol in kind.split()}


@dataclass(frozen=True)
class Prototype:
    """A published structure of the AFLOW library, ``label`` as in ``AB2_tI6_139_a_e``."""

    label: str
    space_group: int
    atoms: Atoms


@cache
def prototypes() -> list[Prototype]:
    """Return the valid structures of up to 64 atoms, in the order of their labels.

    A cell of one atom is doubled along its third vector.
    """
    found = []
    for entry in sorted(AFLOW_PROTOTYPE_LIBRARY, key=lambda entry: entry["tags"]["aflow"]):
        structure, label = entry["snl"].structure, entry["tags"]["aflow"]
        if len(structure) > MAX_ATOMS:
            continue
        atoms = Atoms(
            [site.specie.symbol for site in structure],
            positions=cartesian(structure.frac_coords, structure.lattice.matrix),
            cell=structure.lattice.matrix,
            pbc=True,
        )
        if len(atoms) == 1:
            atoms *= (1, 1, 2)
        prototype = Prototype(label, int(label.split("_")[2]), atoms)
        if is_sound(as_stored(prototype.atoms), prototype.space_group):
            found.append(prototype)
    return found


def cartesian(fractional: Any, cell: Any) -> Any:
    """Positions in angstrom, summed in a fixed order.

    Many coordinates lie halfway between two multiples of 1e-5 angstrom. A matrix product differs in the last
    bit between processors, and `as_stored` would then round them to different sides.
    """
    x, y, z = fractional.T[:, :, None]
    return x * cell[0] + y * cell[1] + z * cell[2]


def as_stored(atoms: Atoms) -> Atoms:
    """Round lengths to 1e-5 angstrom and to float32, the precision of the structures that get labels."""
    rounded = atoms.copy()
    rounded.set_cell((np.round(atoms.cell, 5) + 0.0).astype(np.float32))  # + 0.0 removes minus zeros
    rounded.positions = (np.round(atoms.positions, 5) + 0.0).astype(np.float32)
    return rounded


def is_sound(atoms: Atoms, number: int) -> bool:
    """Return whether atoms keep their distance and spglib finds this space group at each tolerance."""
    if closest_approach(atoms) < CLOSEST:
        return False
    cell = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
    datasets = [spglib.get_symmetry_dataset(cell, symprec=symprec) for symprec in TOLERANCES]
    return all(dataset is not None and dataset.number == number for dataset in datasets)


def decorations(prototype: Prototype, index: int) -> Iterator[Atoms]:
    """Yield the published structure, then variants with other elements on its sites.

    The cell is scaled so that its volume is proportional to the sum of the cubes of the covalent radii.
    """
    rng = np.random.default_rng([SEED, index])
    original = sorted(set(prototype.atoms.symbols))
    seen = {tuple(original)}
    yield as_stored(prototype.atoms)
    if any(symbol not in KIND_OF for symbol in original if symbol != "H"):
        return
    for _ in range(ATTEMPTS):
        drawn = tuple(_another(symbol, rng) for symbol in original)
        if len(set(drawn)) < len(drawn) or drawn in seen:
            continue
        swap = dict(zip(original, drawn, strict=True))
        atoms = prototype.atoms.copy()
        atoms.symbols = [swap[symbol] for symbol in prototype.atoms.symbols]
        volumes = [float((covalent_radii[a.numbers] ** 3).sum()) for a in (atoms, prototype.atoms)]
        scale = (volumes[0] / volumes[1]) ** (1 / 3)
        atoms.positions *= scale
        atoms.set_cell(np.array(atoms.cell) * scale)
        atoms = as_stored(atoms)
        too_large = atoms.get_volume() / len(atoms) > LARGEST
        if too_large or not is_sound(atoms, prototype.space_group):
            continue
        seen.add(drawn)
        yield atoms
        if len(seen) == DECORATIONS:
            return


def _another(symbol: str, rng: np.random.Generator) -> str:
    kind = KIND_OF.get(symbol, [symbol])  # hydrogen is not replaced
    return kind[rng.integers(len(kind))]


def closest_approach(atoms: Atoms) -> float:
    """Smallest ratio of a distance between atoms or images to the sum of the two covalent radii."""
    images = np.array(list(np.ndindex(5, 5, 5)), dtype=float) - 2.0
    vectors = images @ np.array(atoms.cell)
    between = atoms.positions[None, :, None] - atoms.positions[:, None, None] + vectors
    lengths = np.sqrt((between**2).sum(axis=-1))
    radii = covalent_radii[atoms.numbers]
    ratios = lengths / (radii[:, None] + radii)[:, :, None]
    return float(ratios[lengths > 1e-3].min())


def crystal_system(space_group: int) -> int:
    """Index into CRYSTAL_SYSTEMS of a space group number."""
    return int(np.searchsorted(LAST_GROUPS, space_group))


def splits() -> dict[str, str]:
    """Split of each prototype label. Every crystal system is distributed over the splits at random."""
    rng = np.random.default_rng(SEED)
    systems: dict[int, list[str]] = {}
    for prototype in prototypes():
        labels = systems.setdefault(crystal_system(prototype.space_group), [])
        if prototype.label not in labels:
            labels.append(prototype.label)
    split = {}
    for _, labels in sorted(systems.items()):
        shuffled = [labels[i] for i in rng.permutation(len(labels))]
        test, val = math.ceil(HELD_OUT["test"] * len(labels)), round(HELD_OUT["val"] * len(labels))
        for i, label in enumerate(shuffled):
            split[label] = "test" if i < test else "val" if i < test + val else "train"
    return split


def make_sample(prototype: Prototype, atoms: Atoms) -> Sample:
    """Sample of a decorated prototype, with its labels."""
    volume = float(atoms.get_volume())
    mass = float(atomic_masses[atoms.numbers].sum()) / kg * 1e3  # gram
    return {
        "atomic_numbers": atoms.numbers.astype(np.uint8),
        "pos": atoms.positions.astype(np.float32),
        "cell": np.array(atoms.cell)[None].astype(np.float32),
        "pbc": np.ones(3, dtype=bool),
        "targets": {
            "space_group": prototype.space_group,
            "crystal_system": crystal_system(prototype.space_group),
            "density": round(mass / (volume * 1e-24), 6),
            "volume_per_atom": round(volume / len(atoms), 6),
        },
        "target_types": {
            "regression": ["density", "volume_per_atom"],
            "classification": ["space_group", "crystal_system"],
        },
        "extra": {"prototype": prototype.label, "formula": reduced_formula(list(atoms.symbols))},
    }


def samples() -> Iterator[tuple[str, Sample]]:
    """All samples in order, each with the name of its split."""
    split = splits()
    for index, prototype in enumerate(prototypes()):
        for atoms in decorations(prototype, index):
            yield split[prototype.label], make_sample(prototype, atoms)


def source() -> dict[str, Any]:
    """Origin of the data, for the manifest."""
    symprecs = ", ".join(map(str, TOLERANCES))
    programs = {name: version(name) for name in ("pymatgen", "spglib", "ase")}
    return {
        "origin": "tools/devsets/prototypes.py",
        "license": "MIT",
        "made_with": programs,
        "classes": {"crystal_system": CRYSTAL_SYSTEMS},
        "notes": (
            "Hypothetical crystals: the AFLOW prototype structures (Mehl et al., Comput. Mater. Sci. "
            f"136, S1, 2017) in pymatgen {programs['pymatgen']}, as published there and decorated with other "
            "elements of the same kind, scaled by covalent radii and not relaxed; most of them are "
            "not known to exist. The labels are computed from the structure, not measured: "
            f"space_group (1 to 230) by spglib {programs['spglib']}, the same at symprec {symprecs} "
            "angstrom; crystal_system (0 to 6, in the order of classes); density in g/cm^3; "
            "volume_per_atom in angstrom^3. The split is by prototype: no prototype is in two splits."
        ),
    }


if __name__ == "__main__":
    sys.exit(main("prototypes", samples(), source(), UNITS))
