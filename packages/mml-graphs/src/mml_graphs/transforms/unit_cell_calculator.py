"""Compute a cell from lattice parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mml_samples import LATTICE_KEYS, Array, Sample
from numpy.typing import NDArray

from mml_graphs._repr import pasteable_repr
from mml_graphs.neighbors.lattice import cell_from_parameters
from mml_graphs.sample import with_keys
from mml_graphs.transforms._arrays import floats
from mml_graphs.transforms._errors import naming

# Lattice parameters in files are often rounded to three or four digits.
SAME_LENGTH = 1e-2  # angstrom
SAME_COSINE = 1e-2


class UnitCellCalculator:
    """Add ``cell`` [1, 3, 3], angstrom, computed from lattice parameters.

    The parameters are read from ``lattice_features`` or ``lattice_params``: a, b, c in angstrom, then alpha,
    beta, gamma in radians, as an array of six values, or as a dict with such an array under
    ``lattice_params``. The orientation is that of pymatgen's ``Lattice.from_parameters``: c along z, a in the
    x-z plane. Cartesian positions must have the same orientation. If a sample already has a ``cell``, it is
    kept, because its orientation is that of the positions.

    Raises
    ------
    ValueError
        If there are no parameters, no cell has these parameters, or an existing ``cell`` has different
        parameters. The message names the sample and the key.
    """

    is_random = False

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with its cell."""
        with naming(sample):
            key, parameters = _parameters(sample)
            try:
                cell = cell_from_parameters(parameters)
            except ValueError as error:
                raise ValueError(f"{key!r}: {error}") from error
            if "cell" in sample:
                given = floats("cell", sample["cell"]).detach().cpu().numpy()
                if given.shape not in ((3, 3), (1, 3, 3)):
                    raise ValueError(f"'cell' has shape {list(given.shape)}, expected [1, 3, 3] or [3, 3]")
                if given.any():  # a cell of zeros means that there is no cell
                    _check_same(key, parameters, given.reshape(3, 3))
                    return with_keys(sample, {})
        return {**sample, "cell": torch.tensor(cell[None], dtype=torch.get_default_dtype())}

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _parameters(sample: Mapping[str, Array]) -> tuple[str, NDArray[np.float64]]:
    for key in reversed(LATTICE_KEYS):
        if key not in sample:
            continue
        value = sample[key]
        if isinstance(value, Mapping):
            if "lattice_params" not in value:
                raise ValueError(f"{key!r} is a dict without 'lattice_params', only {sorted(value)}")
            value = value["lattice_params"]
        array = floats(key, value).detach().cpu().numpy().astype(np.float64)
        if array.shape not in ((6,), (1, 6)):
            raise ValueError(f"{key!r} has shape {list(array.shape)}, expected [6]")
        if not np.isfinite(array).all():
            raise ValueError(f"{key!r} contains values that are not finite: {array.tolist()}")
        return key, array.reshape(6)
    raise ValueError(
        "'lattice_features' and 'lattice_params' are missing, expected one of them to compute 'cell'"
    )


def _check_same(key: str, parameters: NDArray[np.float64], cell: NDArray[np.floating[Any]]) -> None:
    lengths = np.linalg.norm(cell, axis=1)
    unit = cell / np.maximum(lengths, 1e-12)[:, None]
    cosines = np.array([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    same = np.allclose(lengths, parameters[:3], rtol=0, atol=SAME_LENGTH)
    if not (same and np.allclose(cosines, np.cos(parameters[3:]), rtol=0, atol=SAME_COSINE)):
        found = [*lengths.tolist(), *np.arccos(np.clip(cosines, -1, 1)).tolist()]
        raise ValueError(
            f"'cell' has the lattice parameters {[round(value, 4) for value in found]}, but {key!r} is "
            f"{[round(value, 4) for value in parameters.tolist()]}. Remove one of the two."
        )
