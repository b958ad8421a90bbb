"""Names under which files store labels, and the target or key that each of them becomes.

Names are compared without regard to case. Each name is also recognized with one of the prefixes in `PREFIXES`
or suffixes in `SUFFIXES`: ``REF_energy``, ``dft_forces``, ``energy_ref``.

Sources
-------
Energies are totals in eV, forces are in eV/angstrom and stresses in eV/angstrom^3, positive under tension, as
in ASE (https://wiki.fysik.dtu.dk/ase/ase/calculators/calculators.html) and in files for MACE (``REF_energy``,
``REF_forces``, ``REF_stress``, ``REF_virials``, ``head``), GAP (``dft_energy``, ``dft_force``,
``dft_virial``, ``config_type``), NequIP (``total_energy``, ``forces``) and NEP (``energy``, ``force``,
``virial``). A virial is the negative derivative of the energy with respect to the strain, in eV:
stress = -virial / volume. This is the convention of NequIP
(https://nequip.readthedocs.io/en/latest/guide/reference/conventions.html), of QUIP and GAP
(https://libatoms.github.io/GAP/gap_fit.html), of MACE, and of NEP in GPUMD.
``corrected_total_energy`` and ``uncorrected_total_energy`` are names of the MPtrj data set,
``corrected_energy`` and ``uncorrected_energy`` those of a ComputedStructureEntry of pymatgen.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["AMBIGUOUS", "PREFIXES", "RECOGNIZED", "SUFFIXES", "LabelName", "recognize"]

PREFIXES = ("ref_", "reference_", "dft_", "qm_")
SUFFIXES = ("_ref", "_dft")


@dataclass(frozen=True)
class LabelName:
    """Names of one label.

    Attributes
    ----------
    becomes
        Name of the target, of the key of the sample, or of the item of ``extra``.
    names
        Names in files, in lower case.
    place
        Part of the sample in which the value is stored.
    factor
        Conversion, in the form that `mml_data.importers.expressions.parse_expression` reads after the name.
    rank
        Preference within one structure. A name is used only if the structure has no name of lower rank for
        the same target. Two names of the same rank are ambiguous.
    note
        Explanation for the table of formats.
    """

    becomes: str
    names: tuple[str, ...]
    place: Literal["target", "key", "extra"] = "target"
    factor: str = ""
    rank: int = 0
    note: str = ""


RECOGNIZED: tuple[LabelName, ...] = (
    LabelName(
        "energy",
        ("energy", "total_energy", "corrected_total_energy", "corrected_energy"),
        note="total energy, eV",
    ),
    LabelName(
        "energy",
        ("free_energy",),
        rank=1,
        note="total free energy, eV; used if there is no energy, as ASE's calculators have both",
    ),
    LabelName(
        "energy",
        ("uncorrected_total_energy", "uncorrected_energy"),
        rank=2,
        note="used if there is no corrected energy",
    ),
    LabelName(
        "energy",
        ("energy_per_atom", "corrected_energy_per_atom"),
        factor="*natoms",
        rank=3,
        note="multiplied by the number of atoms; used if there is no total energy",
    ),
    LabelName("force", ("forces", "force", "f"), note="eV/angstrom"),
    LabelName(
        "stress",
        ("stress",),
        note="eV/angstrom^3, positive under tension; 3 x 3, 9 numbers, or 6 (xx yy zz yz xz xy)",
    ),
    LabelName(
        "stress",
        ("virial", "virials"),
        factor=":-1/volume",
        rank=1,
        note="eV, stress = -virial / volume; used if there is no stress",
    ),
    LabelName("dipole", ("dipole", "dipole_moment"), note="e*angstrom"),
    LabelName("polarizability", ("polarizability", "polarizability_tensor"), note="unit of the file"),
    LabelName("dielectric", ("dielectric", "dielectric_tensor"), note="relative to the vacuum"),
    LabelName("charge", ("charge", "total_charge"), "key", note="total charge, e"),
    LabelName("spin", ("spin", "total_spin"), "key", note="total spin, as the file defines it"),
    LabelName("magmom", ("magmom", "magmoms", "magnetic_moments"), "key", note="per atom, Bohr magneton"),
    LabelName("tags", ("tags", "tag"), "key", note="per atom: 0 subsurface, 1 surface, 2 adsorbate"),
    LabelName("fixed", ("fixed",), "key", note="per atom: whether the atom is constrained"),
    LabelName("config_type", ("config_type",), "extra", note="IsolatedAtom marks reference energies"),
    LabelName("head", ("head",), "extra", note="level of theory"),
)
"""Recognized names, in order of preference."""

AMBIGUOUS: dict[str, str] = {
    "virial_stress": "its unit, sign and order of components differ between data sets",
    "pressure": "its unit and sign differ between data sets",
    "stress_gpa": "its sign differs between codes",
    "stress_kbar": "its sign differs between codes",
}
"""Names that look like labels but cannot be converted without further information, and why."""


def _forms(name: str) -> Iterator[str]:
    yield name
    yield from (prefix + name for prefix in PREFIXES)
    yield from (name + suffix for suffix in SUFFIXES)


_BY_NAME: dict[str, LabelName] = {
    form: label
    for label in RECOGNIZED
    for name in label.names
    for form in (_forms(name) if label.place == "target" else (name,))
}


def recognize(name: str) -> LabelName | None:
    """Return the entry of the table for a name in a file, or None if the name is not recognized."""
    return _BY_NAME.get(name.lower())
