"""Recognize torch tensors without importing torch."""

import sys
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    import torch

__all__ = ["is_tensor"]


def is_tensor(value: object) -> "TypeGuard[torch.Tensor]":
    """Return whether a value is a torch tensor.

    torch is not imported: if no other code has imported it, tensors do not exist.
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)
