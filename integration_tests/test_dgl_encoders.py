"""Encoders give the same results on DGL graphs as on PyG graphs."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform, collate_samples
from mml_models import EGNN, MEGNet, PaiNN, SchNet
from mml_models.testing import random_crystal


@pytest.mark.skipif(
    importlib.util.find_spec("dgl") is None, reason="dgl is not installed: it has wheels up to Python 3.11"
)
@pytest.mark.parametrize("encoder", [EGNN, MEGNet, PaiNN, SchNet])
def test_libraries_agree(encoder):
    torch.manual_seed(0)
    made = encoder(hidden_dim=8, cutoff=4.0).double()
    crystals = [random_crystal(seed, num_atoms) for seed, num_atoms in ((0, 3), (1, 1), (2, 4))]
    samples = [{"atomic_numbers": c.numbers, "pos": c.pos, "cell": c.cell} for c in crystals]
    found = []
    for library in ("pyg", "dgl"):
        neighbors, graph = PeriodicPropertiesTransform(4.0), PointCloudToGraphTransform(library)
        batch = collate_samples([graph(neighbors(sample)) for sample in samples])
        nodes = batch["graph"].ndata if library == "dgl" else batch["graph"]
        pos = nodes["pos"].requires_grad_()
        points = made(batch).point_embedding
        found.append((points, torch.autograd.grad(points.sin().sum(), pos)[0]))
    for of_pyg, of_dgl in zip(*found, strict=True):
        torch.testing.assert_close(of_dgl, of_pyg, rtol=0, atol=1e-6)
