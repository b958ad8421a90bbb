"""The suite passes a small right encoder, and each check finds the fault that it is there for."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from mml_models import Embeddings
from mml_models.testing import CHECKS, check_encoder, random_crystal
from mml_models.testing.crystals import Crystal, neighbors
from mml_models.traced import forbid_second_derivatives
from torch import nn

CUTOFF = 4.0


class Right(nn.Module):
    """One layer of sums over neighbors; every step is a method that a broken encoder replaces."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.output_dim = 3
        self.cutoff = self.receptive_field = CUTOFF
        self.table = nn.Embedding(100, 3)
        self.mlp = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def edges(self, graph):
        return graph.edge_index[0], graph.edge_index[1], graph.offsets

    def vectors(self, graph, center, neighbor, offsets):
        return graph.pos[neighbor] + offsets - graph.pos[center]

    def envelope(self, distances):
        x = (distances / CUTOFF).clamp(max=1.0)
        return (1 - x * x) ** 3

    def messages(self, graph, center, neighbor, vectors):
        distances = vectors.norm(dim=1, keepdim=True)
        # A factor of its own per channel keeps the channels apart.
        decay = torch.exp(-distances * torch.tensor([0.2, 0.5, 1.0]).to(distances))
        return self.table(graph.atomic_numbers[neighbor]) * decay * self.envelope(distances)

    def aggregate(self, messages, center, num_atoms):
        return messages.new_zeros(num_atoms, 3).index_add(0, center, messages)

    def update(self, graph, own, received):
        return self.mlp(torch.cat((own, received), dim=1))

    def pool(self, points, graph):
        return points.new_zeros(len(graph.ptr) - 1, points.shape[1]).index_add(0, graph.batch, points)

    def forward(self, batch):
        graph = batch["graph"]
        center, neighbor, offsets = self.edges(graph)
        vectors = self.vectors(graph, center, neighbor, offsets)
        messages = self.messages(graph, center, neighbor, vectors)
        received = self.aggregate(messages, center, len(graph.pos))
        points = self.update(graph, self.table(graph.atomic_numbers), received)
        return Embeddings(self.pool(points, graph), points)


class NoOffsets(Right):
    def vectors(self, graph, center, neighbor, offsets):
        # Not zero: an atom sees its own images.
        return graph.pos[neighbor] - graph.pos[center] + 1e-3


class FrozenOffsets(Right):
    def vectors(self, graph, center, neighbor, offsets):
        return graph.pos[neighbor] + offsets.detach() - graph.pos[center]


class AbsolutePositions(Right):
    def update(self, graph, own, received):
        return super().update(graph, own, received + graph.pos.sin())


class CellMeasured(Right):
    def update(self, graph, own, received):
        return super().update(graph, own, received + graph.cell[graph.batch, 0])


class AlongZ(Right):
    def messages(self, graph, center, neighbor, vectors):
        return super().messages(graph, center, neighbor, vectors) * (1 + vectors[:, 2:].square())


class Handed(Right):
    """Adds the triple product of three weighted sums of vectors, which a mirror turns round."""

    def update(self, graph, own, received):
        center, neighbor, offsets = self.edges(graph)
        vectors = self.vectors(graph, center, neighbor, offsets)
        distances = vectors.norm(dim=1, keepdim=True)
        sums = [
            torch.zeros_like(graph.pos).index_add(
                0, center, vectors * self.envelope(distances) * distances**k
            )
            for k in range(3)
        ]
        volume = torch.stack(sums, dim=1).det().unsqueeze(1)
        return super().update(graph, own, received + volume)


class CountsAtoms(Right):
    def update(self, graph, own, received):
        return super().update(graph, own, received + torch.arange(len(own)).unsqueeze(1))


class HardCutoff(Right):
    def envelope(self, distances):
        return (distances < CUTOFF).double()


class KinkedCutoff(Right):
    def envelope(self, distances):
        return (1 - distances / CUTOFF).clamp(min=0.0)


class MeanOfNeighbors(Right):
    def aggregate(self, messages, center, num_atoms):
        count = torch.bincount(center, minlength=num_atoms).clamp(min=1).unsqueeze(1)
        return super().aggregate(messages, center, num_atoms) / count


class WeightedMean(Right):
    """Smooth, but divides zero by zero where there are no edges."""

    def messages(self, graph, center, neighbor, vectors):
        self.weights = self.envelope(vectors.norm(dim=1, keepdim=True))
        return super().messages(graph, center, neighbor, vectors)

    def aggregate(self, messages, center, num_atoms):
        total = messages.new_zeros(num_atoms, 1).index_add(0, center, self.weights)
        return super().aggregate(messages, center, num_atoms) / total


class CosineBeyondCutoff(Right):
    def envelope(self, distances):
        return 0.5 * (torch.cos(math.pi * distances / CUTOFF) + 1)


class CenterdBatch(Right):
    def update(self, graph, own, received):
        points = super().update(graph, own, received)
        return points - points.mean(dim=0)


class MeanOfSizes(Right):
    def update(self, graph, own, received):
        points = super().update(graph, own, received)
        return points / torch.bincount(graph.batch)[graph.batch].unsqueeze(1)


class RootPooling(Right):
    def pool(self, points, graph):
        return super().pool(points, graph) / graph.natoms.sqrt().unsqueeze(1)


class WrongCenter(Right):
    def edges(self, graph):
        return graph.edge_index[1], graph.edge_index[0], -graph.offsets


class OwnEdges(Right):
    def edges(self, graph):
        found, offsets, start = [], [], 0
        cells = graph.cell if "cell" in graph else [None] * len(graph.natoms)
        for n, cell in zip(graph.natoms.tolist(), cells, strict=True):
            part = slice(start, start + n)
            pos = graph.pos[part].detach()
            index, images = neighbors(Crystal(graph.atomic_numbers[part], pos, cell), CUTOFF)
            found.append(index + start)
            offsets.append(images if cell is None else images @ cell)
            start += n
        index = torch.cat(found, dim=1)
        return index[0], index[1], torch.cat(offsets)


class StoredDistances(Right):
    def messages(self, graph, center, neighbor, vectors):
        return super().messages(graph, center, neighbor, vectors) * graph.distances.unsqueeze(1)


class DetachedDistances(Right):
    def messages(self, graph, center, neighbor, vectors):
        extra = self.envelope(vectors.detach().norm(dim=1, keepdim=True))
        return super().messages(graph, center, neighbor, vectors) * extra


class _Square(torch.autograd.Function):
    """x^2 with a right first and a wrong second derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x.detach()


class WrongSecondDerivative(Right):
    def aggregate(self, messages, center, num_atoms):
        return _Square.apply(super().aggregate(messages, center, num_atoms))


class _TracedSquare(torch.autograd.Function):
    """x^2 with right derivatives, which Dynamo makes a constant of after the first."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x


class LosesSecondDerivative(Right):
    def aggregate(self, messages, center, num_atoms):
        return _TracedSquare.apply(super().aggregate(messages, center, num_atoms))


class DeclaredInVain(LosesSecondDerivative):
    """Declares that it cannot be trained when compiled, and then is trained wrongly without an error."""

    compiled_second_derivatives = False


class Declared(LosesSecondDerivative):
    compiled_second_derivatives = False

    def update(self, graph, own, received):
        return forbid_second_derivatives(super().update(graph, own, received))


class NotDeclared(Declared):
    compiled_second_derivatives = True


class NotTrainable(Right):
    """Forces are right, but as constants."""

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


class Unpicklable(Right):
    def __init__(self) -> None:
        super().__init__()
        self.scale = lambda x: x


class StaleCache(Right):
    """Keeps a product of its parameters, and does not notice that others were loaded."""

    def update(self, graph, own, received):
        if not hasattr(self, "cache"):
            self.cache = self.mlp[2].weight.detach() @ self.mlp[0].weight.detach()
        return super().update(graph, own, received) + own @ self.cache[:, :3].T


class RandomCopy(Right):
    def __deepcopy__(self, memo):
        other = type(self)()
        nn.init.ones_(other.table.weight)
        return other.double()


class FarSighted(Right):
    """Sees the neighbors of its neighbors, and says that it does not."""

    def aggregate(self, messages, center, num_atoms):
        self.center = center
        return super().aggregate(messages, center, num_atoms)

    def update(self, graph, own, received):
        neighbor = self.edges(graph)[1]
        second = torch.zeros_like(received).index_add(0, self.center, received[neighbor])
        return super().update(graph, own, received + second)


class WithVectors(Right):
    """Hands out the sum of the vectors to an atom's neighbors, twice as long in its second channel."""

    def turned(self, vectors):
        return vectors

    def forward(self, batch):
        graph = batch["graph"]
        center, neighbor, offsets = self.edges(graph)
        vectors = self.vectors(graph, center, neighbor, offsets)
        vectors = vectors * self.envelope(vectors.norm(dim=1, keepdim=True))
        sums = self.turned(torch.zeros_like(graph.pos).index_add(0, center, vectors))
        found = super().forward(batch)
        return SimpleNamespace(
            system_embedding=found.system_embedding,
            point_embedding=found.point_embedding,
            point_vectors=torch.stack((sums, 2 * sums), dim=-1),
        )


class LeftVectors(WithVectors):
    def turned(self, vectors):
        return vectors.flip(1)


class WrongWidth(Right):
    def __init__(self) -> None:
        super().__init__()
        self.output_dim = 4


class OtherwiseCompiled(Right):
    def update(self, graph, own, received):
        factor = 1.1 if torch.compiler.is_compiling() else 1.0
        return super().update(graph, own, factor * received)


class NotUnderAutocast(Right):
    """Adds up what a linear map gives, which is bfloat16, in float32."""

    def pool(self, points, graph):
        total = torch.zeros(len(graph.ptr) - 1, 3, dtype=self.table.weight.dtype)
        return total.index_add(0, graph.batch, points)


class Noisy(Right):
    def update(self, graph, own, received):
        return super().update(graph, own, received * (1 + 1e-12 * torch.rand_like(received)))


BROKEN = {
    AbsolutePositions: "translation",
    AlongZ: "rotation",
    CellMeasured: "cell_choice",
    CenterdBatch: "batch",
    CosineBeyondCutoff: "longer_edges",
    CountsAtoms: "permutation",
    DetachedDistances: "forces",
    FarSighted: "receptive_field",
    FrozenOffsets: "stress",
    Handed: "reflection",
    HardCutoff: "cutoff",
    KinkedCutoff: "cutoff",
    LeftVectors: "vectors",
    LosesSecondDerivative: "compiled_second_derivatives",
    MeanOfNeighbors: "cutoff",
    MeanOfSizes: "supercell",
    NoOffsets: "cell_choice",
    Noisy: "deterministic",
    NotTrainable: "second_derivatives",
    NotUnderAutocast: "autocast",
    OtherwiseCompiled: "compile",
    OwnEdges: "given_edges",
    RandomCopy: "copies",
    RootPooling: "supercell",
    StaleCache: "state_dict",
    StoredDistances: "rotation",
    Unpicklable: "copies",
    WeightedMean: "isolated_atom",
    WrongCenter: "given_edges",
    WrongSecondDerivative: "second_derivatives",
    WrongWidth: "output",
}


@pytest.mark.parametrize("seed", range(5))
def test_passes_a_right_encoder(seed):
    check_encoder(Right(), random_crystal(seed, 1 + seed % 4))


def test_passes_a_right_encoder_on_a_molecule():
    check_encoder(Right(), replace(random_crystal(3, 4), cell=None))


def test_passes_a_right_encoder_with_vectors_and_one_that_says_nothing_of_its_reach():
    check_encoder(WithVectors())
    silent = FarSighted()
    for reach in (None, math.inf):
        silent.receptive_field = reach
        CHECKS["receptive_field"](silent.double(), random_crystal(1), CUTOFF, 1)


@pytest.mark.parametrize(("broken", "name"), BROKEN.items(), ids=lambda x: getattr(x, "__name__", x))
def test_a_check_finds_its_fault(broken, name):
    encoder = broken().double()
    with pytest.raises(AssertionError):
        CHECKS[name](encoder, random_crystal(1), CUTOFF, 1)


@pytest.mark.parametrize("declared", [True, False])
def test_an_encoder_without_compiled_second_derivatives_declares_it_and_raises(declared):
    """Its forces are right nevertheless."""
    encoder = (Declared if declared else DeclaredInVain)().double()
    CHECKS["compile"](encoder, random_crystal(1), CUTOFF, 1)
    if declared:
        CHECKS["compiled_second_derivatives"](encoder, random_crystal(1), CUTOFF, 1)
        return
    with pytest.raises(AssertionError, match=r"raises no exception. The relative error of its gradient is 0"):
        CHECKS["compiled_second_derivatives"](encoder, random_crystal(1), CUTOFF, 1)


def test_an_encoder_that_raises_when_compiled_must_declare_it():
    with pytest.raises(AssertionError, match=r"or declare compiled_second_derivatives = False"):
        CHECKS["compiled_second_derivatives"](NotDeclared().double(), random_crystal(1), CUTOFF, 1)


def test_every_check_has_a_fault_to_find():
    assert set(BROKEN.values()) == set(CHECKS)


def test_stops_at_a_broken_encoder():
    with pytest.raises(AssertionError, match=r"output_dim|shape"):
        check_encoder(WrongWidth())


def test_skips_what_it_is_told_to():
    check_encoder(Handed(), skip=["reflection"])
    with pytest.raises(AssertionError, match=r"reflection"):
        check_encoder(Handed())


def test_leaves_the_encoder_alone():
    encoder = Right()
    before = deepcopy(encoder.state_dict())
    check_encoder(encoder)
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_refuses_unknown_names_missing_cutoffs_and_crystals_without_edges():
    with pytest.raises(ValueError, match=r"skip has unknown checks \['mirror'\], known are output,"):
        check_encoder(Right(), skip=["mirror"])
    encoder = Right()
    with pytest.raises(ValueError, match=r"no edges within 0.5 angstrom"):
        check_encoder(encoder, cutoff=0.5)
    del encoder.cutoff
    with pytest.raises(ValueError, match=r"Right has no attribute 'cutoff'"):
        check_encoder(encoder)
