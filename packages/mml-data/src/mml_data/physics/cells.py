"""Check periodic directions against cells."""

import numpy as np

from mml_data.physics.evidence import Evidence
from mml_data.physics.finding import Finding

__all__ = ["check_cells"]

_VACUUM = 8.0  # angstrom
_FILLED = 0.85


def check_cells(evidence: Evidence) -> list[Finding]:
    """Find missing cells, cells of structures that are not declared periodic, and vacuum."""
    rows = evidence.rows
    found = []
    lacking = ~rows["cell"] & rows["claimed"]
    if lacking.any():
        found.append(
            Finding(
                "cells",
                "error",
                f"{int(lacking.sum()):,} of {len(rows):,} samples are declared periodic, but have no cell "
                "with a volume",
                "add the lattice vectors, or set pbc to false",
                tuple(rows["index"][lacking].tolist()),
            )
        )
    mixed = _mixed(rows) & ~lacking
    if mixed.any():
        found.append(
            Finding(
                "cells",
                "error",
                f"{int(mixed.sum()):,} of {len(rows):,} samples have no cell, although other samples with "
                "the same atoms are periodic",
                "check whether the cell was lost in the source",
                tuple(rows["index"][mixed].tolist()),
            )
        )
    with np.errstate(invalid="ignore"):
        filled = rows["cell"] & ~rows["claimed"] & (rows["filled"] > _FILLED) & (rows["natoms"] > 4)
        vacuum = rows["periodic"] & (rows["vacuum"] > _VACUUM) & np.isfinite(rows["stress_max"])
    if filled.any():
        found.append(
            Finding(
                "cells",
                "warning",
                f"{int(filled.sum()):,} of {len(rows):,} samples are not declared periodic, but their atoms "
                "fill the cell up to its faces",
                "set pbc to true in the source if these are crystals or liquids",
                tuple(rows["index"][filled].tolist()),
            )
        )
    if vacuum.any():
        found.append(
            Finding(
                "cells",
                "info",
                f"{int(vacuum.sum()):,} of {len(rows):,} samples have more than {_VACUUM:g} angstrom of "
                "vacuum, but a stress that is divided by the volume with the vacuum",
                "leave the stress of slabs and molecules out of the training, for example by null labels",
                tuple(rows["index"][vacuum].tolist()),
            )
        )
    return found


def _mixed(rows: np.ndarray) -> np.ndarray:
    """Return the samples without a cell whose composition mostly has one."""
    count = int(rows["composition"].max(initial=-1)) + 1
    total = np.bincount(rows["composition"] * 1, minlength=count)
    cells = np.bincount(rows["composition"], weights=rows["cell"], minlength=count)
    sizes_equal = rows["natoms"] > 4
    return np.asarray(~rows["cell"] & sizes_equal & (cells >= 0.5 * total)[rows["composition"]])
