"""The checks of symmetries fail encoders that lack them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from correct_encoder import CUTOFF, Correct
from mml_models.testing import CHECKS, random_crystal, symmetry


class NoOffsets(Correct):
    def vectors(self, graph, center, neighbor, offsets):
        # The vector from an atom to its own image must not be zero.
        return graph.pos[neighbor] - graph.pos[center] + 1e-3


class AbsolutePositions(Correct):
    def update(self, graph, own, received):
        return super().update(graph, own, received + graph.pos.sin())


class CellMeasured(Correct):
    def update(self, graph, own, received):
        return super().update(graph, own, received + graph.cell[graph.batch, 0])


class AlongZ(Correct):
    def messages(self, graph, center, neighbor, vectors):
        return super().messages(graph, center, neighbor, vectors) * (1 + vectors[:, 2:].square())


class Handed(Correct):
    """Adds the triple product of three weighted sums of vectors, which changes sign under reflection."""

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


class CountsAtoms(Correct):
    def update(self, graph, own, received):
        return super().update(graph, own, received + torch.arange(len(own)).unsqueeze(1))


class MeanOfSizes(Correct):
    def update(self, graph, own, received):
        points = super().update(graph, own, received)
        return points / torch.bincount(graph.batch)[graph.batch].unsqueeze(1)


class RootPooling(Correct):
    def pool(self, points, graph):
        return super().pool(points, graph) / graph.natoms.sqrt().unsqueeze(1)


class StoredDistances(Correct):
    def messages(self, graph, center, neighbor, vectors):
        return super().messages(graph, center, neighbor, vectors) * graph.distances.unsqueeze(1)


class WithVectors(Correct):
    """Also returns the sum of the vectors to the neighbors of each atom, in two channels."""

    def transformed(self, vectors):
        return vectors

    def forward(self, batch):
        graph = batch["graph"]
        center, neighbor, offsets = self.edges(graph)
        vectors = self.vectors(graph, center, neighbor, offsets)
        vectors = vectors * self.envelope(vectors.norm(dim=1, keepdim=True))
        sums = self.transformed(torch.zeros_like(graph.pos).index_add(0, center, vectors))
        found = super().forward(batch)
        return SimpleNamespace(
            system_embedding=found.system_embedding,
            point_embedding=found.point_embedding,
            point_vectors=torch.stack((sums, 2 * sums), dim=-1),
        )


class LeftVectors(WithVectors):
    def transformed(self, vectors):
        return vectors.flip(1)


FAULTY = {
    NoOffsets: "cell_choice",
    AbsolutePositions: "translation",
    CellMeasured: "cell_choice",
    AlongZ: "rotation",
    Handed: "reflection",
    CountsAtoms: "permutation",
    MeanOfSizes: "supercell",
    RootPooling: "supercell",
    StoredDistances: "rotation",
    LeftVectors: "vectors",
}


@pytest.mark.parametrize(("faulty", "name"), FAULTY.items(), ids=lambda x: getattr(x, "__name__", x))
def test_check_detects_fault(faulty, name):
    with pytest.raises(AssertionError):
        CHECKS[name](faulty().double(), random_crystal(1), CUTOFF, 1)


def test_every_check_has_a_fault():
    checks = {name.removeprefix("check_") for name in vars(symmetry) if name.startswith("check_")}
    assert set(FAULTY.values()) == checks


def test_correct_vectors_pass():
    CHECKS["vectors"](WithVectors().double(), random_crystal(1), CUTOFF, 1)
