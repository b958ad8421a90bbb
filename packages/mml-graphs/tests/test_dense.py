import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_graphs.neighbors import dense
from mml_graphs.neighbors.edges import Edges
from mml_graphs.neighbors.find_edges import find_edges, wrap
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals

cutoffs = st.integers(2, 24).map(lambda n: n / 4)


def as_edges(found, cell):
    src, dst, images, distances = found
    return Edges(src, dst, images, distances)


@given(crystal=crystals(), cutoff=cutoffs, block=st.integers(1, 400))
def test_block_size_keeps_pairs(crystal, cutoff, block):
    cell = complete_cell(crystal.cell, crystal.pbc)
    positions, _ = wrap(crystal.positions, cell)
    radius = cutoff + 1e-6  # coordinates are short binary fractions: no pair is between the two
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "BLOCK", block)
        found = as_edges(dense.dense_neighbors(positions, cell, radius), cell)
    assert_same_edges(found, brute_force_edges(positions, cell.matrix, crystal.pbc, cutoff), atol=1e-7)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e8])
def test_distant_atoms_keep_distances(far):
    cluster = np.array([[0.0, 0, 0], [1.5, 0, 0], [0, 2.25, 0], [0, 0, 5.0]]) + far
    expected = brute_force_edges(cluster - far, None, (False,) * 3, 4.0)
    assert_same_edges(find_edges(cluster, None, (False,) * 3, 4.0, "numpy"), expected)


def test_candidate_estimate_is_close():
    rng = np.random.default_rng(0)
    cell = complete_cell(np.diag([11.0, 12.0, 13.0]) + rng.normal(size=(3, 3)), (True, True, False))
    positions = rng.uniform(size=(60, 3)) @ cell.matrix
    looked_at = 60 * len(dense._images_within_reach(positions, cell, 5.0)[0])
    assert dense.count_candidates(60, cell, 5.0) == pytest.approx(looked_at, rel=0.2)
