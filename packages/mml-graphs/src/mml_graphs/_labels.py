"""Convert labels to float64."""

from __future__ import annotations

import numpy as np
import torch
from mml_samples import Array


def exact(value: Array) -> Array:
    """Return a float, or an array of floats, as a float64 tensor. Return anything else unchanged.

    Total energies are large and their differences are small. A label that is rounded to float32 before a
    reference energy is subtracted is wrong by up to several eV.
    """
    if isinstance(value, torch.Tensor):
        return value.to(torch.float64) if value.is_floating_point() else value
    if isinstance(value, (float, np.floating)) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        return torch.tensor(value, dtype=torch.float64)
    return value
