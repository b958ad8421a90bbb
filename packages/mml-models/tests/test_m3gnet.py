"""Tests of M3GNet alone. `test_matgl.py` contains the tests that it shares with other encoders."""

from __future__ import annotations

import pytest
import torch
from mml_models import M3GNet
from mml_models.batch import read_graph
from mml_models.layers.edges import Edges, edges_within
from mml_models.optional import is_installed
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal

CUTOFF = 4.0
needs_matgl = pytest.mark.skipif(not is_installed("matgl"), reason="mml-models[matgl] is not installed")


def small(**options):
    torch.manual_seed(0)
    return M3GNet(hidden_dim=8, num_conv=2, cutoff=CUTOFF, elements=[13, 29, 79], **options)


def edges_of(*crystals):
    return edges_within(read_graph(crystal_batch(crystals, CUTOFF)), CUTOFF, torch.float64)


def test_bonds_are_sorted_by_center():
    edges = edges_of(random_crystal(0, 3))
    order = torch.randperm(len(edges.center), generator=torch.Generator().manual_seed(0))
    index, vectors, images = M3GNet.bonds(Edges(*(value[order] for value in vars(edges).values())))
    assert bool((index[0].diff() >= 0).all())
    assert images is None
    rows = zip(*index.tolist(), *vectors.T.tolist(), strict=True)
    assert set(rows) == set(
        zip(edges.center.tolist(), edges.neighbor.tolist(), *edges.vectors.T.tolist(), strict=True)
    )


@needs_matgl
def test_functions_that_are_not_smooth_make_forces_jump():
    with pytest.raises(AssertionError, match="Forces jump"):
        check_encoder(small(threebody_cutoff=3.5, use_smooth=False), skip=set(CHECKS) - {"cutoff"})
