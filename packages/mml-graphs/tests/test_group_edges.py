import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.batches.dense_batch import dense_group_edges
from mml_graphs.batches.small_cells import group_edges
from mml_graphs.batches.structures import join_structures
from mml_graphs.neighbors.edges import Edges
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.sample import Structure
from mml_graphs.sample_tensors import empty_edges
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals

cutoffs = st.integers(2, 32).map(lambda n: n / 4 + 1 / 32)  # no distance of a drawn crystal is within 1e-6

both_ways = pytest.mark.parametrize("find_group", [group_edges, dense_group_edges])


@pytest.fixture(autouse=True)
def _double_precision():
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


def joined(*some):
    return join_structures(
        [
            (Structure(np.ones(len(positions), dtype=int), positions, cell, pbc), complete_cell(cell, pbc))
            for positions, cell, pbc in some
        ]
    )


def written(group):
    arrays = empty_edges(sum(group.counts))
    group.write(arrays)
    return arrays


def parts(group, starts):
    """Split the edges of a group by structure."""
    arrays, edge = written(group), 0
    for atom, count in zip(starts, group.counts, strict=False):
        src, dst, images, distances = (
            arrays[key][edge : edge + count] for key in ("src_nodes", "dst_nodes", "images", "distances")
        )
        yield Edges(src - atom, dst - atom, images, distances)
        edge += count


@both_ways
@given(some=st.lists(crystals(), min_size=1, max_size=5), cutoff=cutoffs)
@settings(max_examples=80)
def test_group_edges_equal_oracle(find_group, some, cutoff):
    structures = joined(*some)
    found = find_group(structures, cutoff)
    for crystal, edges, settled in zip(some, parts(found, structures.starts), found.settled, strict=True):
        expected = brute_force_edges(*crystal, cutoff)
        every_atom_has_one = len(np.unique(expected.src)) == len(crystal.positions)
        if settled:
            assert_same_edges(edges, expected)
        else:
            squares = [
                np.square(expected.distances),
                np.square(brute_force_edges(*crystal, cutoff + 1e-5).distances),
            ]
            near = np.abs(np.sqrt(np.concatenate(squares)) - cutoff) < 2e-6
            assert not every_atom_has_one or near.any()
    assert np.all(np.diff(written(found)["src_nodes"]) >= 0)


@both_ways
@given(some=st.lists(crystals(), min_size=1, max_size=3), cutoff=cutoffs)
def test_unit_offsets_are_fractional_vectors(find_group, some, cutoff):
    structures = joined(*some)
    found = find_group(structures, cutoff)
    arrays, positions = written(found), structures.positions
    matrices = np.repeat(structures.matrices, found.counts, axis=0)
    np.testing.assert_allclose(
        arrays["offsets"], np.einsum("ei,eij->ej", arrays["images"], matrices), atol=1e-9
    )
    vectors = positions[arrays["dst_nodes"]] + arrays["offsets"] - positions[arrays["src_nodes"]]
    np.testing.assert_allclose(np.einsum("ei,eij->ej", arrays["unit_offsets"], matrices), vectors, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), arrays["distances"], atol=1e-7)


@both_ways
@pytest.mark.parametrize(
    ("positions", "pbc", "why"),
    [
        ([[0.0, 0, 0], [9.0, 9, 9]], (False,) * 3, "an isolated atom"),
        ([[0.0, 0, 0], [4.0, 0, 0]], (False,) * 3, "a pair at the cutoff"),
        ([[0.0, 0, 0], [1e-6, 0, 0], [2.0, 0, 0]], (True,) * 3, "two atoms at the same position"),
    ],
)
def test_undecided_structures_are_not_settled(find_group, positions, pbc, why):
    plain = (np.zeros((1, 3)), np.eye(3) * 3.0, (True,) * 3)
    special = (np.array(positions), np.eye(3) * 20.0, pbc)
    found = find_group(joined(plain, special, plain), 4.0)
    assert found.settled.tolist() == [True, False, True], why
