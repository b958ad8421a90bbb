import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_graphs.neighbors import linked_cells, native
from mml_graphs.neighbors.edges import Edges
from mml_graphs.neighbors.find_edges import find_edges, wrap
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals

cutoffs = st.integers(2, 24).map(lambda n: n / 4)


@given(crystal=crystals(), cutoff=cutoffs, pairs=st.integers(1, 400))
def test_block_size_keeps_pairs(crystal, cutoff, pairs):
    cell = complete_cell(crystal.cell, crystal.pbc)
    positions, _ = wrap(crystal.positions, cell)
    radius = cutoff + 1e-6  # coordinates are short binary fractions: no pair is between the two
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linked_cells, "PAIRS", pairs)
        found = Edges(*linked_cells.binned_neighbors(positions, cell, radius))
    assert_same_edges(found, brute_force_edges(positions, cell.matrix, crystal.pbc, cutoff), atol=1e-7)


@pytest.mark.parametrize("backend", ["native"] * native.available() + ["numpy"])
@pytest.mark.parametrize("far", [1e3, 1e6, 1e8])
def test_distant_atoms_keep_distances(far, backend):
    cluster = np.array([[0.0, 0, 0], [1.5, 0, 0], [0, 2.25, 0], [0, 0, 5.0]]) + far
    expected = brute_force_edges(cluster - far, None, (False,) * 3, 4.0)
    assert_same_edges(find_edges(cluster, None, (False,) * 3, 4.0, backend), expected)


def test_sparse_structures_need_no_memory():
    rng = np.random.default_rng(0)
    centers = rng.uniform(-1e7, 1e7, size=(300, 3)).round()
    pairs = np.concatenate([centers, centers + np.array([0.5, 0.0, 0.0])])
    found = Edges(*linked_cells.binned_neighbors(pairs, complete_cell(None, (False,) * 3), 1.0))
    assert found.src.tolist() == list(range(600))
    assert found.dst.tolist() == [*range(300, 600), *range(300)]
