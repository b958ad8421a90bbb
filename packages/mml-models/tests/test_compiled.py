"""The checks under `torch.compile` pass correct encoders and fail faulty ones."""

from __future__ import annotations

import pytest
import torch
from correct_encoder import CUTOFF, Correct
from mml_models.testing import CHECKS, compiled, random_crystal
from mml_models.traced import forbid_second_derivatives


class _TracedSquare(torch.autograd.Function):
    """Compute x^2, with derivatives that are correct in eager mode. Dynamo makes the first one a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x


class LosesSecondDerivative(Correct):
    def aggregate(self, messages, center, num_atoms):
        return _TracedSquare.apply(super().aggregate(messages, center, num_atoms))


class DeclaredInVain(LosesSecondDerivative):
    """Declares that it cannot be trained compiled, but raises no error and computes wrong gradients."""

    compiled_second_derivatives = False


class Declared(LosesSecondDerivative):
    compiled_second_derivatives = False

    def update(self, graph, own, received):
        return forbid_second_derivatives(super().update(graph, own, received))


class NotDeclared(Declared):
    compiled_second_derivatives = True


class OtherwiseCompiled(Correct):
    def update(self, graph, own, received):
        factor = 1.1 if torch.compiler.is_compiling() else 1.0
        return super().update(graph, own, factor * received)


FAULTY = {
    LosesSecondDerivative: "compiled_second_derivatives",
    OtherwiseCompiled: "compile",
}


@pytest.mark.parametrize(("faulty", "name"), FAULTY.items(), ids=lambda x: getattr(x, "__name__", x))
def test_check_detects_fault(faulty, name):
    with pytest.raises(AssertionError):
        CHECKS[name](faulty().double(), random_crystal(1), CUTOFF, 1)


@pytest.mark.parametrize("name", FAULTY.values())
def test_single_atom_passes(name):
    CHECKS[name](Correct().double(), random_crystal(0, 1), CUTOFF, 0)


def test_every_check_has_a_fault():
    checks = {name.removeprefix("check_") for name in vars(compiled) if name.startswith("check_")}
    assert set(FAULTY.values()) == checks


@pytest.mark.parametrize("declared", [True, False])
def test_declared_encoder_must_raise(declared):
    encoder = (Declared if declared else DeclaredInVain)().double()
    CHECKS["compile"](encoder, random_crystal(1), CUTOFF, 1)  # the forces are correct in both cases
    if declared:
        CHECKS["compiled_second_derivatives"](encoder, random_crystal(1), CUTOFF, 1)
        return
    with pytest.raises(AssertionError, match=r"raises no exception. The relative error of its gradient is 0"):
        CHECKS["compiled_second_derivatives"](encoder, random_crystal(1), CUTOFF, 1)


def test_raising_encoder_must_declare():
    with pytest.raises(AssertionError, match=r"or declare compiled_second_derivatives = False"):
        CHECKS["compiled_second_derivatives"](NotDeclared().double(), random_crystal(1), CUTOFF, 1)
