"""Convert arrays of a sample to tensors and check them.

Float arrays keep their dtype, and no array is modified in place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from mml_samples import Array

from mml_graphs.sample import read_structure


def tensor(key: str, value: Array) -> torch.Tensor:
    """Return an array as a tensor. A list of numbers becomes float64 or int64.

    Raises
    ------
    ValueError
        If the value is not an array of numbers.
    """
    if isinstance(value, torch.Tensor):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{key!r} is not an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{key!r} is of type {type(value).__name__} with dtype {array.dtype}, expected numbers"
        )
    # Copy the array, because torch warns about read-only NumPy arrays.
    return torch.tensor(array)


def floats(key: str, value: Array) -> torch.Tensor:
    """Return an array as a float tensor. Integers are converted to torch's default dtype.

    Raises
    ------
    ValueError
        If the value is not an array of numbers.
    """
    array = tensor(key, value)
    return array if array.is_floating_point() else array.to(torch.get_default_dtype())


def positions(holder: Mapping[str, Array], key: str = "pos") -> torch.Tensor:
    """Return the positions from a sample or from the nodes of a graph.

    Parameters
    ----------
    holder
        Sample, or node arrays by name.
    key
        Key of the positions. ``pos`` may be missing if there are ``frac_coords`` or a ``structure``.

    Returns
    -------
    Tensor
        [N, 3] float, positions.

    Raises
    ------
    ValueError
        If the positions are missing, have the wrong shape or are not finite.
    """
    if key not in holder:
        if key == "pos" and ("frac_coords" in holder or "structure" in holder):
            return torch.tensor(read_structure(holder).positions)
        raise ValueError(f"{key!r} is missing, expected positions [N, 3] in angstrom")
    array = floats(key, holder[key])
    if array.ndim != 2 or array.shape[1] != 3 or not len(array):
        raise ValueError(f"{key!r} has shape {list(array.shape)}, expected [N, 3] with at least one atom")
    wrong = torch.nonzero(~array.isfinite().all(dim=1))
    if len(wrong):
        atom = int(wrong[0])
        raise ValueError(f"{key!r} of atom {atom} is not finite: {array[atom].tolist()}")
    return array
