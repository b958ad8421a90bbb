"""Convert tensors to values of JSON, which has no NaN."""

from __future__ import annotations

import math
from typing import Any

import torch


def json_value(value: torch.Tensor, single: bool = True) -> Any:
    """Return a tensor as nested lists in which a missing value is None, or as a number if it has one value.

    Parameters
    ----------
    value
        Tensor of any shape.
    single
        Whether a tensor with one value becomes a number.
    """
    found = value.item() if single and value.numel() == 1 else value.tolist()
    return _with_none(found) if value.is_floating_point() and not value.isfinite().all() else found


def _with_none(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_none(item) for item in value]
    return value if math.isfinite(value) else None
