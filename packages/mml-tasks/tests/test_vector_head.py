from typing import NamedTuple

import pytest
import torch
from mml_tasks.tasks.vector_head import VectorHead
from mml_tasks.testing import ToyEncoder, random_structure, toy_batch, toy_graph
from torch import Tensor, nn


class Embeddings(NamedTuple):
    system_embedding: Tensor
    point_embedding: Tensor
    point_vectors: Tensor


class VectorEncoder(ToyEncoder):
    """Encoder with two vectors for each atom, which are sums over its edges."""

    vector_dim = 2

    def forward(self, batch):
        system, points = super().forward(batch)
        graph = batch["graph"]
        source, target = graph.edge_index
        between = graph.pos[target] + graph.offsets - graph.pos[source]
        pulls = torch.stack([between, between / between.norm(dim=1, keepdim=True)], 1)
        return Embeddings(system, points, pulls.new_zeros(len(points), 2, 3).index_add(0, source, pulls))


def rotation(seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    return matrix if seed % 2 else matrix * torch.linalg.det(matrix)  # improper ones too


def outputs(encoder, head, seed, turn=None):
    numbers, pos, cell = random_structure(seed)
    turn = torch.eye(3, dtype=torch.float64) if turn is None else turn
    batch = toy_batch([toy_graph(numbers, pos @ turn, cell @ turn)])
    embeddings = encoder(batch)
    return head(embeddings.point_embedding, getattr(embeddings, "point_vectors", None), batch["graph"])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [ToyEncoder, VectorEncoder])
def test_vectors_rotate_with_structure(seed, kind):
    torch.manual_seed(seed)
    encoder = kind().double()
    head = VectorHead(encoder, encoder.output_dim).double()
    assert head.source == ("encoder" if kind is VectorEncoder else "edges")
    turn = rotation(seed)
    vectors = outputs(encoder, head, seed)
    torch.testing.assert_close(outputs(encoder, head, seed, turn), vectors @ turn)
    assert vectors.norm(dim=1).min() > 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_edge_vectors_sum_to_zero(seed):
    torch.manual_seed(seed)
    encoder = ToyEncoder().double()
    head = VectorHead(encoder, encoder.output_dim, "edges").double()
    torch.testing.assert_close(outputs(encoder, head, seed).sum(0), torch.zeros(3, dtype=torch.float64))


def test_components_are_invariant():
    torch.manual_seed(0)
    encoder = ToyEncoder().double()
    head = VectorHead(encoder, encoder.output_dim, "components").double()
    torch.testing.assert_close(outputs(encoder, head, 0, rotation(1)), outputs(encoder, head, 0))


def test_edges_vanish_at_cutoff():
    torch.manual_seed(0)
    encoder = ToyEncoder(cutoff=3.0).double()
    head = VectorHead(encoder, encoder.output_dim).double()
    assert head.cutoff == 3.0
    numbers = torch.tensor([6, 8])
    points = torch.randn(2, 8, dtype=torch.float64)
    sizes = []
    for distance in (2.9, 2.99, 3.0, 3.01):
        pos = torch.tensor([[0.0, 0, 0], [distance, 0, 0]], dtype=torch.float64)
        graph = toy_graph(numbers, pos, 20 * torch.eye(3, dtype=torch.float64))
        sizes.append(head(points, None, graph)[0, 0].abs().item())
    assert sizes[0] > sizes[1] > 0
    assert sizes[1] / sizes[0] == pytest.approx(1e-3, rel=0.5)  # the third power of what is left
    assert sizes[2:] == [0.0, 0.0]


class NoCutoff(nn.Module):
    output_dim = 8


@pytest.mark.parametrize(
    ("encoder", "options", "message"),
    [
        (ToyEncoder(), {"source": "edge"}, "vector_source must be one of .*, got 'edge'"),
        (ToyEncoder(), {"source": "encoder"}, "with a vector_dim, but ToyEncoder has none"),
        (NoCutoff(), {}, "NoCutoff has cutoff=None. Pass vector_cutoff in angstrom"),
        (NoCutoff(), {"cutoff": -1.0}, "has cutoff=-1.0"),
    ],
)  # fmt: skip
def test_invalid_heads_are_refused(encoder, options, message):
    with pytest.raises(ValueError, match=message):
        VectorHead(encoder, 8, **options)


def test_invalid_inputs_are_refused(batch):
    head = VectorHead(ToyEncoder(), 8)
    del batch["graph"].edge_index
    with pytest.raises(ValueError, match="no 'pos' or no 'edge_index'"):
        head(torch.zeros(2, 8), None, batch["graph"])
    with pytest.raises(ValueError, match="vectors must not be None"):
        VectorHead(VectorEncoder(), 8)(torch.zeros(2, 8), None, batch["graph"])
