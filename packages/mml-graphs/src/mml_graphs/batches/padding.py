"""Pad arrays of different sizes to a common size."""

from __future__ import annotations

from collections.abc import Sequence

import torch


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
                f"shapes {list(first.shape)} and {list(array.shape)} cannot be padded to one; "
                "the number of dimensions and the last one of several must agree"
            )
    if first.ndim == 0:
        raise ValueError("numbers cannot be padded, only arrays")
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
