from itertools import pairwise

import pytest
import torch
from mml_graphs.device import pair_images
from mml_graphs.device.pair_images import find_pairs
from mml_graphs.device.triangular import turn, wrap


def search(positions, cell, radius):
    batch = torch.zeros(len(positions), dtype=torch.int64)
    counts = torch.tensor([len(positions)])
    pbc = torch.ones(1, 3, dtype=torch.bool)
    frame = turn(positions, cell[None], pbc, batch, counts > 0, radius)
    return list(find_pairs(wrap(positions, frame, batch), frame, batch, counts, radius))


def lattice(n_side, spacing=2.0):
    sites = torch.cartesian_prod(*[torch.arange(n_side, dtype=torch.float64)] * 3) * spacing
    return sites, torch.eye(3, dtype=torch.float64) * n_side * spacing


@pytest.mark.parametrize("n_side", [1, 3, 8])
def test_shells_of_the_cubic_lattice(n_side):
    """Of a cubic lattice, 6 neighbors are at 1, 12 at root 2, 8 at root 3, and 6 at 2 lattice constants."""
    portions = search(*lattice(n_side), radius=4.1)
    for ends in ([pairs.src for pairs in portions], [pairs.dst for pairs in portions]):
        assert torch.bincount(torch.cat(ends)).tolist() == [32] * n_side**3


def test_portions_equal_one_search(monkeypatch):
    positions, cell = lattice(6)
    (whole,) = search(positions, cell, 3.0)
    monkeypatch.setattr(pair_images, "PAIRS_CPU", 500)
    portions = search(positions, cell, 3.0)
    assert len(portions) > 10
    for one, other in pairwise(portions):
        assert one.src[-1] < other.src[0]
    for name in ("src", "dst", "images"):
        joined = torch.cat([getattr(portion, name) for portion in portions], dim=-1)
        assert torch.equal(joined, getattr(whole, name))
