import numpy as np
import pytest
from mml_graphs import PeriodicPropertiesTransform
from mml_graphs.batches.batch_edges import find_batch_edges
from mml_graphs.batches.structures import read_structures
from mml_graphs.testing import assert_same_edges

CUBE = {"atomic_numbers": [29], "pos": np.zeros((1, 3)), "cell": np.eye(3) * 3.0}
PAIR = {"atomic_numbers": [29, 8], "pos": np.array([[0.0, 0, 0], [1.0, 1, 1]]), "cell": np.eye(3) * 4.0}
LONELY = {"atomic_numbers": [2, 2], "pos": np.array([[0.0, 0, 0], [8.0, 0, 0]]), "cell": np.eye(3) * 20.0}


@pytest.mark.parametrize("options", [{}, {"max_neighbors": 4}, {"allow_self_loops": True}])
@pytest.mark.parametrize("samples", [[CUBE, PAIR, CUBE], [CUBE, LONELY, PAIR], [PAIR]])
def test_edges_equal_those_of_single_samples(samples, options):
    neighbors = PeriodicPropertiesTransform(4.1, on_isolated="allow", **options)
    structures = read_structures(samples, neighbors)
    tensors, num_edges = find_batch_edges(samples, structures, neighbors)
    first_edge = 0
    for sample, count, start in zip(samples, num_edges, structures.starts, strict=False):
        rows = slice(first_edge, first_edge + count)
        found = {key: tensors[key][rows] for key in ("src_nodes", "dst_nodes", "images", "distances")}
        found |= {key: found[key] - start for key in ("src_nodes", "dst_nodes")}
        assert_same_edges(found, neighbors(sample), atol=1e-5)
        first_edge += count
    assert first_edge == len(tensors["src_nodes"])


def test_grown_cutoffs_are_returned():
    neighbors = PeriodicPropertiesTransform(4.1, adaptive_cutoff=True)
    samples = [CUBE, LONELY]
    tensors, _ = find_batch_edges(samples, read_structures(samples, neighbors), neighbors)
    assert tensors["cutoff_radius"].flatten().tolist() == pytest.approx([4.1, 8.1])
