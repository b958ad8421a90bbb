"""Replace functions with hand-written derivatives by plain operations while `torch.compile` traces them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


class Kernel(NamedTuple):
    """Two implementations of one function.

    Parameters
    ----------
    fast
        Implementation with a `torch.autograd.Function`, used in eager mode.
    plain
        Reference implementation with differentiable PyTorch operations only, used while `torch.compile` or
        `torch.export` traces the function.
    """

    fast: Callable[..., Any]
    plain: Callable[..., Any]


KERNELS: dict[str, Kernel] = {}
"""All kernels of the package by name. A test compares the two implementations of each."""


def traced_as(plain: Callable[P, T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Replace the decorated function by `plain` while `torch.compile` traces it.

    Dynamo traces the backward of a `torch.autograd.Function` between ``_set_grad_enabled(False)`` and
    ``_set_grad_enabled(True)``, as if it were decorated with `once_differentiable`. ``create_graph=True`` has
    no effect on that backward. Its result is a constant, and a loss of forces loses the gradient that flows
    through it. PyTorch does not report an error. Therefore decorate every function that calls a
    `torch.autograd.Function`, so that Dynamo never traces one.

    Parameters
    ----------
    plain
        Function with the same signature and result. It uses only PyTorch operations that are differentiable
        to any order.
    """

    def decorate(fast: Callable[P, T]) -> Callable[P, T]:
        @wraps(fast)
        def kernel(*args: P.args, **kwargs: P.kwargs) -> T:
            return plain(*args, **kwargs) if torch.compiler.is_compiling() else fast(*args, **kwargs)

        KERNELS[f"{fast.__module__}.{fast.__qualname__}"] = Kernel(fast, plain)
        return kernel

    return decorate


def forbid_second_derivatives(values: Tensor) -> Tensor:
    """Return `values`. If they are compiled, differentiating them with ``create_graph=True`` raises an error.

    Use it in encoders whose second derivatives are wrong under `torch.compile`.

    Raises
    ------
    RuntimeError
        In the backward pass, if the values were computed under `torch.compile` and the backward pass must
        be differentiated itself.
    """
    if not torch.compiler.is_compiling():
        return values
    from mml_models.once_differentiable import once_differentiable  # imports Dynamo, which takes a second

    return once_differentiable(values)
