"""Rotated, shifted and reordered copies of a batch."""

import pytest
import torch
from mml_diagnostics.checks.moved import moved, random_order, random_rotation, reordered


@pytest.fixture
def batch(samples, make_batch):
    return make_batch(samples[:16])


def test_moved_keeps_distances_and_batch(batch):
    rotation = random_rotation(3)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(rotation) == pytest.approx(1.0)
    before = batch["pos"].clone()
    other = moved(batch, rotation, torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(batch["pos"], before)
    torch.testing.assert_close(torch.pdist(other["pos"]), torch.pdist(before), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(other["pos"], before)
    torch.testing.assert_close(other["cell"][0] @ other["cell"][0].T, 100 * torch.eye(3))


def test_reordered_atoms_keep_edges(batch):
    order = random_order(batch["batch"])
    other = reordered(batch, order)
    assert not torch.equal(order, torch.arange(len(order)))
    assert torch.equal(other["batch"], batch["batch"])
    assert torch.equal(other["pos"], batch["pos"][order])
    assert torch.equal(other["atomic_numbers"], batch["atomic_numbers"][order])
    assert torch.equal(other["offsets"], batch["offsets"])
    for before, after in zip(batch["edge_index"], other["edge_index"], strict=True):
        assert torch.equal(batch["pos"][before], other["pos"][after])
