"""Features with the symmetries of e3nn: which of them stay when the crystal is turned or mirrored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def scalar_columns(layers: Iterable[Any]) -> list[int]:
    """Return the columns of even scalars in features of several layers, one layer after the other.

    Parameters
    ----------
    layers
        The e3nn `Irreps` of each layer's features.
    """
    columns: list[int] = []
    start = 0
    for irreps in layers:
        for (_, symmetry), where in zip(irreps, irreps.slices(), strict=True):
            if symmetry.l == 0 and symmetry.p == 1:
                columns += range(start + where.start, start + where.stop)
        start += irreps.dim
    return columns
