"""Select the features of e3nn that are invariant under rotations and reflections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def scalar_columns(layers: Iterable[Any]) -> list[int]:
    """Return the columns of the even scalars (0e) in the concatenated features of several layers.

    Parameters
    ----------
    layers
        The e3nn `Irreps` of the features of each layer.
    """
    columns: list[int] = []
    start = 0
    for irreps in layers:
        for (_, symmetry), where in zip(irreps, irreps.slices(), strict=True):
            if symmetry.l == 0 and symmetry.p == 1:
                columns += range(start + where.start, start + where.stop)
        start += irreps.dim
    return columns
