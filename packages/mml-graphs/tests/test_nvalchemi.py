import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_graphs import Edges, periodic_edges_batch
from mml_graphs.device.nvalchemi import is_installed
from mml_graphs.testing import assert_same_edges, crystals

needs_it = pytest.mark.skipif(not is_installed(), reason="nvalchemi-toolkit-ops is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def found(edges):
    columns = (edges.src, edges.dst, edges.images, edges.distances)
    return Edges(*(value.cpu().numpy() for value in columns))


@needs_it
@given(
    structures=st.lists(crystals(), min_size=1, max_size=4),
    cutoff=st.integers(2, 24).map(lambda n: n / 4),
    shuffle=st.booleans(),
)
def test_same_edges_as_torch(structures, cutoff, shuffle):
    pos = torch.tensor(np.concatenate([s.positions for s in structures]), device=DEVICE)
    # One structure without atoms, in the middle.
    cell = torch.tensor(
        np.stack([structures[0].cell, 0 * structures[0].cell, *(s.cell for s in structures[1:])])
    )
    pbc = torch.tensor([structures[0].pbc, (True,) * 3, *(s.pbc for s in structures[1:])])
    batch = torch.cat(
        [torch.full((len(s.positions),), number + (number > 0)) for number, s in enumerate(structures)]
    ).to(DEVICE)
    if shuffle:
        order = torch.arange(len(pos), device=DEVICE).flip(0)
        pos, batch = pos[order], batch[order]
    arguments = (pos, cell.to(DEVICE), pbc.to(DEVICE), batch, cutoff)
    edges = periodic_edges_batch(*arguments, backend="nvalchemi")
    assert (edges.src.diff() >= 0).all()
    assert_same_edges(found(edges), found(periodic_edges_batch(*arguments, backend="torch")))


@needs_it
@pytest.mark.parametrize("n_side", [6, 12])
def test_dense_and_large(n_side):
    """More neighbors than it expects: it is told how many."""
    sites = torch.cartesian_prod(*[torch.arange(n_side, dtype=torch.float64)] * 3)
    pos = (sites + torch.rand(sites.shape, generator=torch.Generator().manual_seed(0)) / 4).to(DEVICE)
    cell = torch.eye(3, dtype=torch.float64, device=DEVICE)[None] * n_side
    batch = torch.zeros(len(pos), dtype=torch.int64, device=DEVICE)
    arguments = (pos, cell, [True] * 3, batch, 3.0)
    edges = periodic_edges_batch(*arguments, backend="nvalchemi")
    assert_same_edges(found(edges), found(periodic_edges_batch(*arguments, backend="torch")))


@pytest.mark.skipif(is_installed(), reason="nvalchemi-toolkit-ops is installed")
def test_missing():
    one = (torch.zeros(1, 3), torch.eye(3)[None], [True] * 3, torch.zeros(1, dtype=torch.int64), 2.0)
    with pytest.raises(ImportError, match='python -m pip install "nvalchemi-toolkit-ops"'):
        periodic_edges_batch(*one, backend="nvalchemi")
    assert len(periodic_edges_batch(*one, backend="auto").src) == 32
