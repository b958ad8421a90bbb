"""Identity whose derivatives cannot be differentiated again, for encoders under `torch.compile`.

This module imports Dynamo, so import it only where something is compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


@torch.compiler.disable  # type: ignore[untyped-decorator]
def once_differentiable(values: Tensor) -> Tensor:
    """Return `values` with derivatives that cannot be differentiated. Dynamo skips this function."""
    result: Tensor = _OnceDifferentiable.apply(values)
    return result


class _OnceDifferentiable(Function):
    """Identity whose backward pass raises a RuntimeError if it must be differentiated itself.

    `torch.autograd.function.once_differentiable` would raise only if the incoming gradient has a graph.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "The compiled encoder has no second derivatives (compiled_second_derivatives is False in its "
                "class), and training on forces needs them. Train the encoder without torch.compile, and "
                "compile it for inference."
            )
        return grad
