from __future__ import annotations

import pytest
import torch
from mml_models import GenericEncoder
from mml_models.testing import check_encoder, crystal_batch, random_crystal
from torch import nn

CUTOFF = 4.0


class Sums(nn.Module):
    """Sum the element vectors of the neighbors, with weights that are zero at the cutoff."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(100, 4)
        self.mlp = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 5))

    def forward(self, z, pos, edge_index, edge_vectors, batch):
        center, neighbor = edge_index
        distances = edge_vectors.norm(dim=1, keepdim=True)
        decay = torch.exp(-distances * torch.tensor([0.1, 0.3, 0.6, 1.0]).to(distances))
        messages = self.table(z)[neighbor] * decay * (1 - (distances / CUTOFF) ** 2) ** 3
        received = messages.new_zeros(len(z), 4).index_add(0, center, messages)
        return self.mlp(torch.cat((self.table(z), received), dim=1))


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_module_passes_suite_and_is_trained(reduction):
    encoder = GenericEncoder(Sums(), 5, CUTOFF, reduction)
    check_encoder(encoder, random_crystal(4))
    assert {name for name, _ in encoder.named_parameters()} >= {"fn.table.weight", "fn.mlp.0.weight"}


def test_function_receives_atoms_and_edges():
    seen = {}

    def embed(z, pos, edge_index, edge_vectors, batch):
        seen.update(z=z, pos=pos, edge_index=edge_index, edge_vectors=edge_vectors, batch=batch)
        return z.to(pos).unsqueeze(1)

    batch = crystal_batch([random_crystal(0, 2), random_crystal(1, 3)], 5.0)
    found = GenericEncoder(embed, 1, CUTOFF)(batch)
    graph = batch["graph"]
    vectors = graph.pos[graph.edge_index[1]] + graph.offsets - graph.pos[graph.edge_index[0]]
    near = vectors.norm(dim=1) < CUTOFF
    assert torch.equal(seen["z"], graph.atomic_numbers)
    assert torch.equal(seen["pos"], graph.pos)
    assert torch.equal(seen["edge_index"], graph.edge_index[:, near])
    torch.testing.assert_close(seen["edge_vectors"], vectors[near])
    assert seen["batch"].tolist() == [0, 0, 1, 1, 1]
    z = graph.atomic_numbers.double()
    assert found.system_embedding.flatten().tolist() == [float(z[:2].sum()), float(z[2:].sum())]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda z: z.double(), r"must return a tensor of shape \[3, 2\], .* got shape \[3\]"),
        (lambda z: z.new_zeros(3, 1), r"got shape \[3, 1\]"),
        (lambda z: None, r"got NoneType"),
    ],
)
def test_wrong_output_raises(result, message):
    encoder = GenericEncoder(lambda z, *_: result(z), 2, CUTOFF)
    with pytest.raises(ValueError, match=message):
        encoder(crystal_batch([random_crystal(0)], CUTOFF))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_dim": 0}, "output_dim must be at least 1, got 0"),
        ({"output_dim": 1, "cutoff": 0.0}, "cutoff must be a positive length in angstrom, got 0.0"),
        ({"output_dim": 1, "reduction": "max"}, "reduction must be 'sum' or 'mean', got 'max'"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        GenericEncoder(Sums(), **options)
