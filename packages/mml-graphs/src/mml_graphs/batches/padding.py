"""Pad arrays of different sizes to a common size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mml_samples import Array


def pad_key(key: str, values: Sequence[Array], names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Pad the values of a key to a common size.

    Parameters
    ----------
    key
        Key that is named in messages.
    values
        B arrays, see `pad`.
    names
        Names of the B samples for error messages.

    Returns
    -------
    dict
        The padded arrays under the key, and the mask under ``KEY_mask``.

    Raises
    ------
    ValueError
        If a value is not an array, or the arrays cannot be padded to a common size.
    """
    for value, name in zip(values, names, strict=True):
        if not (isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim):
            raise ValueError(
                f"pad_keys contains {key!r}, which is of type {type(value).__name__} in {name}, "
                "expected an array"
            )
    try:
        padded, mask = pad([torch.as_tensor(value) for value in values])
    except ValueError as error:
        raise ValueError(f"pad_keys contains {key!r}, but {error}") from error
    return {key: padded, f"{key}_mask": mask}


def pad(arrays: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad arrays with zeros to the size of the largest, and stack them.

    The last dimension of an array with several dimensions is the number of features. It must be the same in
    all arrays and is not padded.

    Parameters
    ----------
    arrays
        B arrays [N_b], [N_b, D], or [N_b, M_b, ..., D].

    Returns
    -------
    padded
        [B, N], [B, N, D], or [B, N, M, ..., D]. Each padded size is the largest of all arrays.
    mask
        [B, N], [B, N], or [B, N, M, ...] bool: ``True`` for values, ``False`` for padding.

    Raises
    ------
    ValueError
        If the arrays differ in the number of dimensions or of features, or have no dimension.
    """
    first = arrays[0]
    for array in arrays:
        if array.ndim != first.ndim or (array.ndim > 1 and array.shape[-1] != first.shape[-1]):
            raise ValueError(
                f"arrays of shapes {list(first.shape)} and {list(array.shape)} cannot be padded to a common "
                "shape; their numbers of dimensions and their last dimensions must be equal"
            )
    if first.ndim == 0:
        raise ValueError("cannot pad numbers, expected arrays")
    num_padded = max(1, first.ndim - 1)
    sizes = [max(array.shape[axis] for array in arrays) for axis in range(num_padded)]
    dtype = arrays[0].dtype
    for array in arrays[1:]:
        dtype = torch.promote_types(dtype, array.dtype)
    padded = first.new_zeros((len(arrays), *sizes, *first.shape[num_padded:]), dtype=dtype)
    mask = torch.zeros((len(arrays), *sizes), dtype=torch.bool, device=first.device)
    for index, array in enumerate(arrays):
        filled = tuple(slice(size) for size in array.shape[:num_padded])
        padded[index][filled] = array
        mask[index][filled] = True
    return padded, mask
