"""The checks of derivatives fail encoders with wrong forces, stress or gradients, and with jumps."""

from __future__ import annotations

import pytest
import torch
from correct_encoder import CUTOFF, Correct
from mml_models import Embeddings
from mml_models.testing import CHECKS, derivatives, random_crystal


class FrozenOffsets(Correct):
    def vectors(self, graph, center, neighbor, offsets):
        return graph.pos[neighbor] + offsets.detach() - graph.pos[center]


class HardCutoff(Correct):
    def envelope(self, distances):
        return (distances < CUTOFF).double()


class KinkedCutoff(Correct):
    def envelope(self, distances):
        return (1 - distances / CUTOFF).clamp(min=0.0)


class MeanOfNeighbors(Correct):
    def aggregate(self, messages, center, num_atoms):
        count = torch.bincount(center, minlength=num_atoms).clamp(min=1).unsqueeze(1)
        return super().aggregate(messages, center, num_atoms) / count


class DetachedDistances(Correct):
    def messages(self, graph, center, neighbor, vectors):
        extra = self.envelope(vectors.detach().norm(dim=1, keepdim=True))
        return super().messages(graph, center, neighbor, vectors) * extra


class _Square(torch.autograd.Function):
    """Compute x^2, with a correct first and a wrong second derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x.detach()


class WrongSecondDerivative(Correct):
    def aggregate(self, messages, center, num_atoms):
        return _Square.apply(super().aggregate(messages, center, num_atoms))


class NotTrainable(Correct):
    """Computes correct forces as constants."""

    def forward(self, batch):
        graph = batch["graph"]
        with torch.enable_grad():
            pos = graph.pos.detach().requires_grad_(True)
            shadow = graph.clone()
            shadow.pos = pos
            found = super().forward({**batch, "graph": shadow})
            slopes = [
                torch.autograd.grad(column.sum(), pos, retain_graph=True)[0]
                for column in found.point_embedding.T
            ]
        total = torch.stack([(slope * (graph.pos - pos.detach())).sum(dim=1) for slope in slopes], dim=1)
        points = found.point_embedding.detach() + total
        return Embeddings(self.pool(points, graph), points)


FAULTY = {
    FrozenOffsets: "stress",
    HardCutoff: "cutoff",
    KinkedCutoff: "cutoff",
    MeanOfNeighbors: "cutoff",
    DetachedDistances: "forces",
    WrongSecondDerivative: "second_derivatives",
    NotTrainable: "second_derivatives",
}


@pytest.mark.parametrize(("faulty", "name"), FAULTY.items(), ids=lambda x: getattr(x, "__name__", x))
def test_check_detects_fault(faulty, name):
    with pytest.raises(AssertionError):
        CHECKS[name](faulty().double(), random_crystal(1), CUTOFF, 1)


def test_every_check_has_a_fault():
    checks = {name.removeprefix("check_") for name in vars(derivatives) if name.startswith("check_")}
    assert set(FAULTY.values()) == checks
