"""Tests of CHGNet alone. `test_matgl.py` contains the tests that it shares with other encoders."""

from __future__ import annotations

import pytest
import torch
from mml_models import CHGNet
from mml_models.batch import read_graph
from mml_models.layers.edges import Edges, edges_within
from mml_models.optional import is_installed
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal

CUTOFF = 4.0
needs_matgl = pytest.mark.skipif(not is_installed("matgl"), reason="mml-models[matgl] is not installed")


def small(**options):
    torch.manual_seed(0)
    return CHGNet(hidden_dim=8, num_conv=2, cutoff=CUTOFF, elements=[13, 29, 79], **options)


def edges_of(*crystals):
    return edges_within(read_graph(crystal_batch(crystals, CUTOFF)), CUTOFF, torch.float64)


@pytest.mark.parametrize("paired", [True, False])
def test_only_reverse_bonds_have_opposite_images(paired):
    """In a crystal of one atom, the two ends of all edges are the same atom."""
    edges = edges_of(random_crystal(0, 1))
    if not paired:
        edges = Edges(*(value[1:] for value in vars(edges).values()))
    index, vectors, images = CHGNet.bonds(edges)
    assert torch.equal(index, torch.stack((edges.neighbor, edges.center)))
    assert torch.equal(vectors, -edges.vectors)
    opposite = (images.unsqueeze(0) + images.unsqueeze(1)).abs().amax(dim=2) < 1e-9
    reverse = (vectors.unsqueeze(0) + vectors.unsqueeze(1)).abs().amax(dim=2) < 1e-9
    assert torch.equal(opposite, reverse)
    assert int(reverse.sum()) == len(vectors) - (not paired)


@needs_matgl
def test_forces_jump_at_cutoff():
    with pytest.raises(AssertionError, match="Forces jump"):
        check_encoder(small(threebody_cutoff=3.5), skip=set(CHECKS) - {"cutoff"})
