import numpy as np
import pytest
import torch
from mml_graphs.batches.small_cells import group_edges, translations, within
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


@pytest.mark.parametrize("angle", [60.0, 20.0, 5.0])
def test_flat_cells_lose_no_precision(angle):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    slope = np.deg2rad(angle)
    cell = np.array([[3.0, 0, 0], [3.5 * np.cos(slope), 3.5 * np.sin(slope), 0], [1.0, 2.0, 4.0]]) @ turn
    atom = np.zeros((1, 3))
    structure = Structure(np.ones(1, dtype=int), atom, cell, (True,) * 3)
    group = group_edges(join_structures([(structure, complete_cell(cell, (True,) * 3))]), 6.3)
    arrays = empty_edges(sum(group.counts))
    group.write(arrays)
    edges = Edges(*(arrays[key] for key in ("src_nodes", "dst_nodes", "images", "distances")))
    assert_same_edges(edges, brute_force_edges(atom, cell, (True,) * 3, 6.3), atol=1e-11)


def test_integers_within_are_enumerated():
    numbers, rows = within(
        np.array([0.5, 2.0, 9.0]), np.array([1.0, 0.5, 1.5]), np.array([True, True, False])
    )
    assert numbers.tolist() == [0.0, 1.0, 2.0]
    assert rows.tolist() == [0, 0, 1]


def test_translations_use_the_cell_of_each_structure():
    images, matrices = np.eye(3), np.array([np.eye(3), 2 * np.eye(3)])
    assert np.diag(translations(images, matrices, [1, 2])).tolist() == [1.0, 2.0, 2.0]
