"""The checks of copies and state dicts fail faulty encoders."""

from __future__ import annotations

import pytest
from correct_encoder import CUTOFF, Correct
from mml_models.testing import CHECKS, random_crystal, state
from torch import nn


class Unpicklable(Correct):
    def __init__(self) -> None:
        super().__init__()
        self.scale = lambda x: x


class StaleCache(Correct):
    """Caches a product of its parameters and keeps it when other parameters are loaded."""

    def update(self, graph, own, received):
        if not hasattr(self, "cache"):
            self.cache = self.mlp[2].weight.detach() @ self.mlp[0].weight.detach()
        return super().update(graph, own, received) + own @ self.cache[:, :3].T


class RandomCopy(Correct):
    def __deepcopy__(self, memo):
        other = type(self)()
        nn.init.ones_(other.table.weight)
        return other.double()


FAULTY = {
    Unpicklable: "copies",
    StaleCache: "state_dict",
    RandomCopy: "copies",
}


@pytest.mark.parametrize(("faulty", "name"), FAULTY.items(), ids=lambda x: getattr(x, "__name__", x))
def test_check_detects_fault(faulty, name):
    with pytest.raises(AssertionError):
        CHECKS[name](faulty().double(), random_crystal(1), CUTOFF, 1)


def test_every_check_has_a_fault():
    checks = {name.removeprefix("check_") for name in vars(state) if name.startswith("check_")}
    assert set(FAULTY.values()) == checks
