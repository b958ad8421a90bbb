from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models import SchNet
from mml_models._pyg import pyg_schnet
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal
from torch import nn

CUTOFF = 4.0
crystals = st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 4))


def small(**options):
    torch.manual_seed(0)
    return SchNet(**{"hidden_dim": 12, "output_dim": 6, "cutoff": CUTOFF, "num_gaussians": 8, **options})


@pytest.mark.parametrize("name", CHECKS)
def test_passes_the_suite(name):
    @settings(max_examples=15, deadline=None)
    @given(crystals, st.integers(0, 1000))
    def check(crystal, seed):
        CHECKS[name](encoder, crystal, CUTOFF, seed)

    encoder = small().double()
    check()


@pytest.mark.parametrize("options", [{"reduction": "mean"}, {"num_conv": 1}])
def test_passes_the_suite_with_other_options(options):
    check_encoder(small(**options), random_crystal(2))


def test_it_is_pygs_schnet_on_the_edges_of_the_batch():
    encoder = small().double()
    batch = crystal_batch([random_crystal(0), random_crystal(1, 2)], CUTOFF)
    graph = batch["graph"]

    def edges(pos, _):
        vectors = pos[graph.edge_index[1]] + graph.offsets - pos[graph.edge_index[0]]
        return graph.edge_index.flip(0), vectors.norm(dim=1)

    peer = pyg_schnet()(12, 12, 3, 8, CUTOFF, interaction_graph=edges).double()
    peer.lin1, peer.lin2 = nn.Linear(12, 12), nn.Linear(12, 6)
    peer = peer.double()
    peer.load_state_dict(encoder.net.state_dict(), strict=False)
    peer.embedding.weight.data = encoder.elements.table.weight.data
    expected = peer(graph.atomic_numbers, graph.pos, graph.batch)
    torch.testing.assert_close(encoder(batch).system_embedding, expected)


def test_it_keeps_no_state_between_calls():
    encoder = small()
    first, second = (crystal_batch([random_crystal(seed)], CUTOFF) for seed in (0, 1))
    before = encoder(first).point_embedding
    encoder(second)
    assert torch.equal(encoder(first).point_embedding, before)


def test_every_parameter_is_trained_by_the_energy():
    encoder = small().double()
    encoder(crystal_batch([random_crystal(0)], CUTOFF)).system_embedding.square().sum().backward()
    unused = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_it_embeds_elements_that_pygs_table_has_no_room_for():
    crystal = random_crystal(0, elements=(100, 103))
    with pytest.raises(ValueError, match=r"Element 103 .* outside the encoder's 1..100"):
        check_encoder(small(), random_crystal(0, elements=(103,)))
    check_encoder(small(num_atom_embedding=103), crystal)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_gaussians": 1}, "num_gaussians is 1: give at least 2"), ({"num_conv": 0}, "num_conv is 0")],
)
def test_refuses_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
