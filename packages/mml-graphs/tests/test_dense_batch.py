import numpy as np
import pytest
import torch
from mml_graphs.batches.dense_batch import dense_group_edges
from mml_graphs.batches.structures import join_structures
from mml_graphs.neighbors.edges import Edges
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.sample import Structure
from mml_graphs.sample_tensors import empty_edges
from mml_graphs.testing import assert_same_edges, brute_force_edges


@pytest.fixture(autouse=True)
def _double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_atoms_outside_of_the_cell_keep_their_edges(far):
    rng = np.random.default_rng(0)
    cell, pbc = np.eye(3) * 6.0, (True, True, True)
    positions = rng.uniform(-9, 9, size=(20, 3)).round(3) + far
    structure = Structure(np.ones(20, dtype=int), positions, cell, pbc)
    group = dense_group_edges(join_structures([(structure, complete_cell(cell, pbc))]), 3.3)
    arrays = empty_edges(sum(group.counts))
    group.write(arrays)
    edges = Edges(*(arrays[key] for key in ("src_nodes", "dst_nodes", "images", "distances")))
    vectors = positions[edges.dst] + arrays["offsets"] - positions[edges.src]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), edges.distances, atol=1e-6)
    expected = brute_force_edges(positions - far, cell, pbc, 3.3)
    assert len(edges.src) == len(expected.src)
    if not far:
        assert_same_edges(edges, expected, atol=1e-7)
