from __future__ import annotations

import pytest
import torch
from mml_models import SchNet
from mml_models.testing import crystal_batch, random_crystal
from mml_samples import optional_module
from torch import nn

CUTOFF = 4.0


def small(**options):
    torch.manual_seed(0)
    return SchNet(**{"hidden_dim": 12, "output_dim": 6, "cutoff": CUTOFF, "num_gaussians": 8, **options})


def weights_for_pyg(encoder):
    """Return the parameters of our SchNet under the names of PyG's SchNet."""
    names = {"embedding.weight": encoder.elements.table.weight}
    parts = {"lin1": encoder.readout[0], "lin2": encoder.readout[2]}
    for i, block in enumerate(encoder.blocks):
        parts |= {
            f"interactions.{i}.mlp.0": block.filter[0],
            f"interactions.{i}.mlp.2": block.filter[2],
            f"interactions.{i}.conv.nn.0": block.filter[0],
            f"interactions.{i}.conv.nn.2": block.filter[2],
            f"interactions.{i}.conv.lin1": block.mix,
            f"interactions.{i}.conv.lin2": block.update[0],
            f"interactions.{i}.lin": block.update[2],
        }
    for name, part in parts.items():
        names |= {f"{name}.{key}": value for key, value in part.named_parameters()}
    return names


def test_schnet_equals_pyg():
    encoder = small().double()
    batch = crystal_batch([random_crystal(0), random_crystal(1, 2)], CUTOFF)
    graph = batch["graph"]

    def edges(pos, _):
        vectors = pos[graph.edge_index[1]] + graph.offsets - pos[graph.edge_index[0]]
        return graph.edge_index.flip(0), vectors.norm(dim=1)

    pyg = optional_module("torch_geometric.nn.models.schnet", "torch-geometric", "the comparison")
    peer = pyg.SchNet(12, 12, 3, 8, CUTOFF, interaction_graph=edges)
    peer.lin1, peer.lin2 = nn.Linear(12, 12), nn.Linear(12, 6)
    peer.embedding = nn.Embedding(101, 12)
    peer = peer.double()
    missing = peer.load_state_dict(weights_for_pyg(encoder), strict=False)
    assert missing.missing_keys == ["distance_expansion.offset"]
    assert missing.unexpected_keys == []
    expected = peer(graph.atomic_numbers, graph.pos, graph.batch)
    torch.testing.assert_close(encoder(batch).system_embedding, expected)


def test_calls_are_independent():
    encoder = small()
    first, second = (crystal_batch([random_crystal(seed)], CUTOFF) for seed in (0, 1))
    before = encoder(first).point_embedding
    encoder(second)
    assert torch.equal(encoder(first).point_embedding, before)


def test_num_atom_embedding_limits_elements():
    crystal = random_crystal(0, elements=(100, 103))
    with pytest.raises(ValueError, match=r"Element 103 .* outside the encoder's range from 1 to 100"):
        small()(crystal_batch([crystal], CUTOFF))
    small(num_atom_embedding=103)(crystal_batch([crystal], CUTOFF))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_gaussians": 1}, "num_gaussians must be at least 2, got 1"),
        ({"num_conv": 0}, "num_conv must be at least 1, got 0"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
