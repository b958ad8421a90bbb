"""The checks of edges and batches fail encoders that use other edges or mix structures."""

from __future__ import annotations

import math

import pytest
import torch
from correct_encoder import CUTOFF, Correct
from mml_models.testing import CHECKS, locality, random_crystal
from mml_models.testing.crystals import Crystal, neighbors


class WeightedMean(Correct):
    """Is smooth, but divides zero by zero if an atom has no edges."""

    def messages(self, graph, center, neighbor, vectors):
        self.weights = self.envelope(vectors.norm(dim=1, keepdim=True))
        return super().messages(graph, center, neighbor, vectors)

    def aggregate(self, messages, center, num_atoms):
        total = messages.new_zeros(num_atoms, 1).index_add(0, center, self.weights)
        return super().aggregate(messages, center, num_atoms) / total


class CosineBeyondCutoff(Correct):
    def envelope(self, distances):
        return 0.5 * (torch.cos(math.pi * distances / CUTOFF) + 1)


class CenteredBatch(Correct):
    def update(self, graph, own, received):
        points = super().update(graph, own, received)
        return points - points.mean(dim=0)


class WrongCenter(Correct):
    def edges(self, graph):
        return graph.edge_index[1], graph.edge_index[0], -graph.offsets


class OwnEdges(Correct):
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


class FarSighted(Correct):
    """Depends on the neighbors of neighbors, beyond the receptive field that it declares."""

    def aggregate(self, messages, center, num_atoms):
        self.center = center
        return super().aggregate(messages, center, num_atoms)

    def update(self, graph, own, received):
        neighbor = self.edges(graph)[1]
        second = torch.zeros_like(received).index_add(0, self.center, received[neighbor])
        return super().update(graph, own, received + second)


class WrongWidth(Correct):
    def __init__(self) -> None:
        super().__init__()
        self.output_dim = 4


FAULTY = {
    WeightedMean: "isolated_atom",
    CosineBeyondCutoff: "longer_edges",
    CenteredBatch: "batch",
    WrongCenter: "given_edges",
    OwnEdges: "given_edges",
    FarSighted: "receptive_field",
    WrongWidth: "output",
}


@pytest.mark.parametrize(("faulty", "name"), FAULTY.items(), ids=lambda x: getattr(x, "__name__", x))
def test_check_detects_fault(faulty, name):
    with pytest.raises(AssertionError):
        CHECKS[name](faulty().double(), random_crystal(1), CUTOFF, 1)


def test_every_check_has_a_fault():
    checks = {name.removeprefix("check_") for name in vars(locality) if name.startswith("check_")}
    assert set(FAULTY.values()) == checks


@pytest.mark.parametrize("field", [None, math.inf])
def test_receptive_field_is_optional(field):
    encoder = FarSighted().double()
    encoder.receptive_field = field
    CHECKS["receptive_field"](encoder, random_crystal(1), CUTOFF, 1)
