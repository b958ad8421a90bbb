import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.neighbors.native import StructureError, available
from mml_graphs.sample import read_structure
from mml_graphs.structure_edges import find_structure_edges
from mml_graphs.structures import join_structures
from mml_graphs.testing import brute_force_edges, crystals

BACKENDS = ["numpy", "pymatgen", "vesin", "ase", *["native"] * available()]


def keep_all(edges, num_atoms):
    return edges


@given(
    some=st.lists(crystals(), min_size=1, max_size=4),
    cutoffs=st.lists(st.sampled_from([1.0, 3.0, 4.25]), min_size=4, max_size=4),
    backend=st.sampled_from(BACKENDS),
    select=st.sampled_from([None, keep_all]),
)
@settings(max_examples=150)
def test_edges_equal_brute_force(some, cutoffs, backend, select):
    """With the same order from every backend, and with and without a selection of edges."""
    structures = join_structures([read_structure(crystal.sample()) for crystal in some])
    found = find_structure_edges(structures, np.array(cutoffs[: len(some)]), backend, select)
    first = 0
    for index, (crystal, cutoff) in enumerate(zip(some, cutoffs, strict=False)):
        expected = brute_force_edges(*crystal, cutoff)
        start, count = structures.starts[index], found.num_edges[index]
        rows = slice(first, first + count)
        src, dst = found.edge_index[:, rows] - start
        for mine, theirs in zip((src, dst, found.images[rows]), expected, strict=False):
            np.testing.assert_array_equal(mine, theirs)
        degrees = np.bincount(expected.src, minlength=len(crystal.positions))
        assert found.degrees[start : structures.starts[index + 1]].tolist() == degrees.tolist()
        cell = structures.one(index)[1]
        vectors = crystal.positions[dst] - crystal.positions[src] + expected.images @ cell.matrix
        np.testing.assert_allclose(found.offsets[rows], expected.images @ cell.matrix, atol=1e-5)
        np.testing.assert_allclose(found.unit_offsets[rows] @ cell.matrix, vectors, atol=1e-4)
        np.testing.assert_allclose(found.distances[rows], expected.distances, rtol=1e-6)
        first += count
    assert first == found.edge_index.shape[1]
    assert found.images.dtype == found.offsets.dtype == found.unit_offsets.dtype == np.float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_errors_have_the_index_of_the_structure(backend):
    cube = {"atomic_numbers": [29, 29], "pos": [[0.0, 0, 0], [1.0, 1, 1]], "cell": np.eye(3) * 3.0}
    twice = {**cube, "pos": np.zeros((2, 3))}
    structures = join_structures([read_structure(each) for each in (cube, twice, cube)])
    with pytest.raises(StructureError, match="atoms 0 and 1 are at the same position") as caught:
        find_structure_edges(structures, np.full(3, 2.0), backend, None)
    assert caught.value.structure == 1
    structures.positions[2:4] = [[0.0, 0, 0], [1.0, np.nan, 1]]
    with pytest.raises(StructureError, match="not finite") as caught:
        find_structure_edges(structures, np.full(3, 2.0), backend, None)
    assert caught.value.structure == 1
