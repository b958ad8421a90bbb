"""How quantities are shown."""

UNITS = {"energy": "eV", "energy_per_atom": "eV/atom", "force": "eV/Å", "stress": "eV/Å³"}
"""Units that the sample contract gives the targets of these names."""

SCALE = {"eV/atom": (1000.0, "meV/atom"), "eV/Å": (1000.0, "meV/Å"), "eV/Å³": (1000.0, "meV/Å³")}
"""Units in which errors are of a readable size."""

SPLITS = ("train", "val", "test")
