"""Checks of an encoder under `torch.compile`: embeddings, forces, and the gradients of a loss of forces."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mml_models.testing.crystals import Crystal, crystal_batch
from mml_models.testing.derivatives import STEP, direction_of
from mml_models.testing.energy import Encoder, points_and_forces, position_gradient, require_close

_TOLERANCE = 1e-6
"""Relative to the norm: far above the rounding of sums in another order, far below a lost term."""
_SMALL = 1e-6
"""Losses and norms below this are compared absolutely, for crystals whose forces are zero by symmetry."""


def check_compile(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Compare embeddings and forces of the compiled encoder with those of the encoder in eager mode.

    The backend is "aot_eager", which runs every stage of `torch.compile` except code generation, so that no
    C++ compiler is needed. It has first derivatives only. The check takes seconds, more than most others.
    """
    with _tracing():
        compiled: Encoder = torch.compile(encoder, backend="aot_eager")
        for crystals in (
            [crystal],
            [crystal, crystal],
        ):  # the second size is traced again, with sizes left open
            batch = crystal_batch(crystals, cutoff)
            found = points_and_forces(compiled, batch)
            expected = points_and_forces(encoder, batch)
            require_close(found[0], expected[0], "Point embeddings, compiled and not")
            require_close(found[1], expected[1], "Forces, compiled and not")


def check_compiled_second_derivatives(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Compare a loss of forces and its gradient, by all parameters, of the compiled and the eager encoder.

    The gradient is also compared with a central difference of the compiled loss along a random direction.
    Dynamo can lose terms of the gradient without an error, and the loss is still right: it traces the
    backward of a custom `torch.autograd.Function` with gradients switched off. The backend is "eager", the
    only one with second derivatives; "aot_eager" and "inductor" raise. The batch is one crystal, then two
    copies of it, so that a crystal with an odd number of atoms checks an even number as well. Use a crystal
    of several atoms: the forces on a single atom are zero, and so is the gradient.

    An encoder that cannot be compiled for training on forces declares it with the attribute
    ``compiled_second_derivatives = False``. The check then requires that training the compiled encoder raises
    an exception. `GraphEncoder` raises it for its subclasses.
    """
    if not isinstance(encoder, nn.Module) or not any(p.requires_grad for p in encoder.parameters()):
        return
    with _tracing():
        moved = deepcopy(encoder)  # parameters are moved along the random direction
        compiled: Encoder = torch.compile(moved, backend="eager")
        if not getattr(encoder, "compiled_second_derivatives", True):
            _require_exception(compiled, moved, crystal_batch([crystal], cutoff))
            return
        for crystals in ([crystal], [crystal, crystal]):
            batch = crystal_batch(crystals, cutoff)
            loss, gradient = _loss_and_gradient(encoder, encoder, batch)
            try:
                found_loss, found = _loss_and_gradient(compiled, moved, batch)
            except RuntimeError as error:
                raise AssertionError(
                    f"Training the compiled encoder on forces raises {type(error).__name__}: {error}. Make "
                    "the encoder traceable, or declare compiled_second_derivatives = False in its class."
                ) from error
            scale = loss.clamp(min=_SMALL)
            require_close(found_loss / scale, loss / scale, "Force loss, compiled and not", _TOLERANCE)
            what, norm = "Gradient of a force loss by parameters", gradient.norm().clamp(min=_SMALL)
            require_close(found / norm, gradient / norm, f"{what}, compiled and not", _TOLERANCE)
            direction = direction_of(gradient, torch.Generator().manual_seed(seed))
            up, down = (_shifted_loss(compiled, moved, batch, sign * STEP * direction) for sign in (1, -1))
            slope, difference = found @ direction / norm, (up - down) / (2 * STEP) / norm
            require_close(slope, difference, f"{what}, compiled, and finite differences", 1e-4)


def _require_exception(compiled: Encoder, encoder: nn.Module, batch: dict[str, Any]) -> None:
    try:
        _, gradient = _loss_and_gradient(compiled, encoder, batch)
    except Exception:  # of any type: it stops the training
        return
    _, expected = _loss_and_gradient(encoder, encoder, batch)
    error = float((gradient - expected).norm() / expected.norm().clamp(min=1e-12))
    raise AssertionError(
        "The encoder declares compiled_second_derivatives = False, but training the compiled encoder on "
        f"forces raises no exception. The relative error of its gradient is {error:.3g}. Raise an exception, "
        "or remove the declaration if the gradient is right."
    )


def _loss_and_gradient(
    encoder: Encoder, parameters_of: nn.Module, batch: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return ``sum(F^2)`` and its gradient by all trained parameters, flattened and joined.

    The gradient of constant forces is zero: a loss of energies and forces would be trained without an error.
    """
    parameters = _trained(parameters_of)
    loss = position_gradient(encoder, batch, create_graph=True).square().sum()
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    else:
        gradients = tuple(torch.zeros_like(parameter) for parameter in parameters)
    return loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def _shifted_loss(encoder: Encoder, parameters_of: nn.Module, batch: dict[str, Any], shift: Tensor) -> Tensor:
    """Return ``sum(F^2)`` with all trained parameters moved by `shift`; they are restored afterwards."""
    parameters = _trained(parameters_of)
    before = [parameter.detach().clone() for parameter in parameters]
    parts = shift.split([parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.add_(part.view_as(parameter))
    loss = position_gradient(encoder, batch, create_graph=False).square().sum()
    with torch.no_grad():
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
    return loss


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


@contextmanager
def _tracing() -> Iterator[None]:
    """Forget graphs of earlier checks, and silence Dynamo, which logs every line that breaks the graph."""
    torch.compiler.reset()
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            # Dynamo looks at `.grad` of the tensors that it meets, and torch 2.15 warns of it.
            warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor that is not a leaf")
            yield
    finally:
        logging.disable(before)
