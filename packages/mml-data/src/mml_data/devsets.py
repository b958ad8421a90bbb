"""The data sets that are embedded in the package, to try and to test a training chain with."""

from pathlib import Path

__all__ = ["DEVSETS", "devset_path"]

DEVSETS = {
    "emt": "1,527 metals and alloys (2 to 64 atoms) with energy, forces and stress of a toy potential",
    "prototypes": "1,055 hypothetical crystals with space group, crystal system, density and volume per atom",
}
"""Names of the embedded data sets, and what they are; the manifest of each says more."""


def devset_path(name: str) -> Path:
    """Directory of an embedded data set, for `mml_data.LMDBDataset`; it is only ever read.

    Raises
    ------
    ValueError
        Where there is none of this name.
    """
    if name not in DEVSETS:
        raise ValueError(f"there is no embedded data set {name!r}; there are {', '.join(map(repr, DEVSETS))}")
    return Path(__file__).parent / "_devsets" / name
