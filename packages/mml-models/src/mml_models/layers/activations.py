"""Smooth activation functions with fast second derivatives, for models trained on forces."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from mml_models.traced import traced_as


class SiLU(nn.Module):
    """Apply ``x sigmoid(x)`` elementwise, with a fast second derivative.

    The function is differentiable to any order. Its values equal those of `torch.nn.SiLU`. The second
    derivative of `torch.nn.SiLU` takes a dozen operations, each a pass over memory; this one takes five.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element of `x`, of any shape."""
        return silu(x)


class ShiftedSoftplus(nn.Module):
    """Apply ``ln(1 + exp(x)) - ln 2`` elementwise, with a fast second derivative.

    The function is differentiable to any order. Schuett et al. 2017 (arXiv 1706.08566), section 4.2.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to each element of `x`, of any shape."""
        return shifted_softplus(x)


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "GELU": nn.GELU,
    "Mish": nn.Mish,
    "SiLU": SiLU,
    "Softplus": nn.Softplus,
    "Tanh": nn.Tanh,
}


def activation_class(name: str) -> type[nn.Module]:
    """Return the class of an activation, given its name in `torch.nn`.

    All supported activations have continuous second derivatives. An activation with a kink, such as ReLU,
    would make forces discontinuous.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"activation must be one of {', '.join(_ACTIVATIONS)} (which are smooth), got {name!r}"
        )
    return _ACTIVATIONS[name]


def silu_plain(x: Tensor) -> Tensor:
    """Compute `silu` with the function of PyTorch."""
    return nn.functional.silu(x)


@traced_as(silu_plain)
def silu(x: Tensor) -> Tensor:
    """Return ``x sigmoid(x)``, elementwise. `torch.compile` traces `silu_plain`."""
    y: Tensor = _SiLU.apply(x)
    return y


def shifted_softplus_plain(x: Tensor) -> Tensor:
    """Compute `shifted_softplus` with PyTorch's softplus, which is linear above 20: an error of 2e-9."""
    return nn.functional.softplus(x) - math.log(2.0)


@traced_as(shifted_softplus_plain)
def shifted_softplus(x: Tensor) -> Tensor:
    """Return ``ln(1 + exp(x)) - ln 2``, elementwise. `torch.compile` traces `shifted_softplus_plain`."""
    y: Tensor = _ShiftedSoftplus.apply(x)
    return y


class _SiLU(Function):
    """Compute y = x s, with s = sigmoid(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        y = x * s
        ctx.save_for_backward(x, y, s)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y, s = ctx.saved_tensors
        result: Tensor = _SiLUGradient.apply(grad, x, y.detach(), s)
        return result


class _SiLUGradient(Function):
    """Compute grad y', with y' = s + y - y s and y'' = (1 - s) (y' + s - y s). x only connects the graph."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, y: Tensor, s: Tensor) -> Tensor:
        slope = (s + y).addcmul_(y, s, value=-1)
        ctx.save_for_backward(grad, x, y, s, slope)
        return grad * slope

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad, x, y, s, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # third derivatives need every operation in the graph
            s = torch.sigmoid(x)
            y = x * s
            slope = s + y - y * s
            return grad_out * slope, grad_out * grad * (1 - s) * (slope + s - y * s), None, None
        curvature = (s + slope).addcmul_(y, s, value=-1)
        curvature.addcmul_(curvature, s, value=-1)
        return grad_out * slope, curvature.mul_(grad).mul_(grad_out), None, None


class _ShiftedSoftplus(Function):
    """Compute y = ln(1 + exp(x)) - ln 2. Its derivative is y' = s, with s = sigmoid(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return nn.functional.softplus(x).sub_(math.log(2.0))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        result: Tensor = _TimesSigmoid.apply(grad, x)
        return result


class _TimesSigmoid(Function):
    """Compute grad s, with s = sigmoid(x) and s' = s (1 - s)."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        ctx.save_for_backward(grad, x, s)
        return grad * s

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor]:
        grad, x, s = ctx.saved_tensors
        if torch.is_grad_enabled():  # third derivatives need every operation in the graph
            s = torch.sigmoid(x)
            return grad_out * s, grad_out * grad * (s - s * s)
        slope = torch.addcmul(s, s, s, value=-1)
        return grad_out * s, slope.mul_(grad).mul_(grad_out)
