"""Checks of an encoder under `torch.compile`: embeddings, forces, and gradients of a force loss."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from mml_samples import Batch
from torch import Tensor, nn

from mml_models.testing.crystals import Crystal, crystal_batch
from mml_models.testing.derivatives import STEP, direction_of
from mml_models.testing.energy import Encoder, points_and_forces, position_gradient, require_close

_TOLERANCE = 1e-6
"""Tolerance relative to the norm. Far above the rounding errors of reordered sums, far below a lost term."""
_SMALL = 1e-6
"""Losses and norms below this value are compared absolutely. Forces may be zero by symmetry."""


def check_compile(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Compare embeddings and forces of the compiled encoder with those of the encoder in eager mode.

    The backend is "aot_eager", which runs every stage of `torch.compile` except code generation and therefore
    does not need a C++ compiler. It supports first derivatives only. The check takes several seconds, longer
    than most other checks.
    """
    with _tracing():
        compiled: Encoder = torch.compile(encoder, backend="aot_eager")
        for crystals in (
            [crystal],
            [crystal, crystal],
        ):  # the second size is traced with dynamic shapes
            batch = crystal_batch(crystals, cutoff)
            found = points_and_forces(compiled, batch)
            expected = points_and_forces(encoder, batch)
            require_close(found[0], expected[0], "Point embeddings, compiled and not")
            require_close(found[1], expected[1], "Forces, compiled and not")


def check_compiled_second_derivatives(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Compare a force loss and its gradient, by all parameters, of the compiled and the eager encoder.

    The gradient is also compared with a central difference of the compiled loss along a random direction.
    Dynamo traces the backward of a custom `torch.autograd.Function` with gradients disabled. It can therefore
    lose terms of the gradient without an error, although the loss is correct. The backend is "eager", the
    only backend with second derivatives; "aot_eager" and "inductor" raise an error.

    The batch is first one crystal and then two copies of it, so that a crystal with an odd number of atoms
    also tests an even number. Use a crystal of several atoms: the force on a single atom is zero, and so is
    the gradient.

    If an encoder cannot be compiled for training on forces, set its attribute
    ``compiled_second_derivatives = False``. The check then requires that training the compiled encoder raises
    an exception. `GraphEncoder` raises this exception for its subclasses.
    """
    if not isinstance(encoder, nn.Module) or not any(p.requires_grad for p in encoder.parameters()):
        return
    with _tracing():
        moved = deepcopy(encoder)  # its parameters are shifted along the random direction
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


def _require_exception(compiled: Encoder, encoder: nn.Module, batch: Batch) -> None:
    try:
        _, gradient = _loss_and_gradient(compiled, encoder, batch)
    except Exception:  # an exception of any type stops the training
        return
    _, expected = _loss_and_gradient(encoder, encoder, batch)
    error = float((gradient - expected).norm() / expected.norm().clamp(min=1e-12))
    raise AssertionError(
        "The encoder declares compiled_second_derivatives = False, but training the compiled encoder on "
        f"forces raises no exception. The relative error of its gradient is {error:.3g}. Raise an exception, "
        "or remove the declaration if the gradient is right."
    )


def _loss_and_gradient(encoder: Encoder, parameters_of: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return ``sum(F^2)`` and its gradient by all trained parameters, as one flat vector.

    If the forces are constant, return a gradient of zero. Training on energies and forces would not raise an
    error in this case.
    """
    parameters = _trained(parameters_of)
    loss = position_gradient(encoder, batch, create_graph=True).square().sum()
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    else:
        gradients = tuple(torch.zeros_like(parameter) for parameter in parameters)
    return loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def _shifted_loss(encoder: Encoder, parameters_of: nn.Module, batch: Batch, shift: Tensor) -> Tensor:
    """Return ``sum(F^2)`` with all trained parameters shifted by `shift`, and restore the parameters."""
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
    """Reset the compiler, and silence Dynamo, which logs every line that breaks the graph."""
    torch.compiler.reset()
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            # Dynamo reads `.grad` of the tensors that it traces, which causes a warning in torch 2.15.
            warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor that is not a leaf")
            yield
    finally:
        logging.disable(before)
