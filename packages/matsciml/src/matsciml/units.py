"""Units for the display of quantities."""

UNITS = {"energy": "eV", "energy_per_atom": "eV/atom", "force": "eV/Å", "stress": "eV/Å³"}
"""Units of the targets with these names, as defined by the sample contract."""

SCALE = {"eV/atom": (1000.0, "meV/atom"), "eV/Å": (1000.0, "meV/Å"), "eV/Å³": (1000.0, "meV/Å³")}
"""Conversion factors and units that give errors a readable magnitude."""

SPLITS = ("train", "val", "test")
