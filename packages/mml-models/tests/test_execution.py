"""The checks of autocast and of deterministic algorithms fail faulty encoders."""

from __future__ import annotations

import pytest
import torch
from correct_encoder import CUTOFF, Correct
from mml_models.testing import CHECKS, execution, random_crystal


class NotUnderAutocast(Correct):
    """Adds outputs of a linear layer, which are bfloat16 under autocast, to a float32 tensor."""

    def pool(self, points, graph):
        total = torch.zeros(len(graph.ptr) - 1, 3, dtype=self.table.weight.dtype)
        return total.index_add(0, graph.batch, points)


class Noisy(Correct):
    def update(self, graph, own, received):
        return super().update(graph, own, received * (1 + 1e-12 * torch.rand_like(received)))


FAULTY = {
    NotUnderAutocast: "autocast",
    Noisy: "deterministic",
}


@pytest.mark.parametrize(("faulty", "name"), FAULTY.items(), ids=lambda x: getattr(x, "__name__", x))
def test_check_detects_fault(faulty, name):
    with pytest.raises(AssertionError):
        CHECKS[name](faulty().double(), random_crystal(1), CUTOFF, 1)


def test_every_check_has_a_fault():
    checks = {name.removeprefix("check_") for name in vars(execution) if name.startswith("check_")}
    assert set(FAULTY.values()) == checks
