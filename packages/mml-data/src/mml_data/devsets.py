"""Data sets that are embedded in the package, for trying out and testing training runs."""

from pathlib import Path

__all__ = ["DEVSETS", "devset_path"]

DEVSETS = {
    "emt": "1,527 metals and alloys (2 to 64 atoms) with energy, forces and stress of a toy potential",
    "prototypes": "1,055 hypothetical crystals with space group, crystal system, density and volume per atom",
}
"""Names and descriptions of the embedded data sets. The manifest of each data set has more details."""


def devset_path(name: str) -> Path:
    """Return the directory of an embedded data set, for `mml_data.LMDBDataset`.

    The directory is never written to.

    Raises
    ------
    ValueError
        If no embedded data set has this name.
    """
    if name not in DEVSETS:
        raise ValueError(
            f"{name!r} is not an embedded data set; the embedded data sets are "
            f"{', '.join(map(repr, DEVSETS))}"
        )
    return Path(__file__).parent / "_devsets" / name
