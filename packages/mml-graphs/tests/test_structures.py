import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_graphs.batches.structures import join_structures, may_be_fractional, read_plain
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.sample import read_structure
from mml_graphs.testing import crystals
from pymatgen.core import Lattice
from pymatgen.core import Structure as PymatgenStructure

COPPER = {"atomic_numbers": np.array([29]), "pos": np.zeros((1, 3)), "cell": 1.8 * (1 - np.eye(3))}


def one_by_one(samples):
    structures = [read_structure(sample) for sample in samples]
    return join_structures([(one, complete_cell(one.cell, one.pbc)) for one in structures])


def assert_same(one, other):
    for name, mine, theirs in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
        assert np.asarray(mine).dtype == np.asarray(theirs).dtype, name


@given(some=st.lists(crystals(), min_size=1, max_size=4), as_tensor=st.booleans())
def test_structures_equal_one_by_one(some, as_tensor):
    samples = []
    for crystal in some:
        sample = {key: np.asarray(value) for key, value in crystal.sample().items()}
        samples.append({k: torch.as_tensor(v) for k, v in sample.items()} if as_tensor else sample)
    read = read_plain(samples)
    assert read is not None
    assert_same(read, one_by_one(samples))


def test_pymatgen_structures_are_read_together():
    lattice = Lattice(np.diag([4.0, 5.0, 9.0]) + 0.1, pbc=(True, True, False))
    slab = {"structure": PymatgenStructure(lattice, ["Cu", "O"], [[0.1, 0.2, 0.3], [0.6, 0.7, 1.2]])}
    samples = [COPPER, slab, COPPER]
    read = read_plain(samples)
    assert read is not None
    assert_same(read, one_by_one(samples))
    disordered = PymatgenStructure(lattice, [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    assert read_plain([slab, {"structure": disordered}]) is None
    assert read_plain([slab, {**slab, "pbc": np.ones(3, dtype=bool)}]) is None


@given(some=st.lists(crystals(), min_size=1, max_size=5), data=st.data())
def test_taken_structures_equal_originals(some, data):
    samples = [crystal.sample() for crystal in some]
    members = data.draw(st.lists(st.sampled_from(range(len(some))), min_size=1, unique=True).map(sorted))
    structures = one_by_one(samples)
    assert_same(structures.take(members), one_by_one([samples[index] for index in members]))
    for index in members:
        structure, cell = structures.one(index)
        np.testing.assert_array_equal(structure.positions, some[index].positions)
        assert structure.pbc == cell.pbc == tuple(some[index].pbc)


@pytest.mark.parametrize(
    "change",
    [
        {"pos": [[0.0, 0, 0]]},
        {"pos": np.zeros((2, 3))},
        {"pos": np.zeros((1, 2))},
        {"pos": np.full((1, 3), np.nan)},
        {"pos": np.array([["a", "b", "c"]])},
        {"cell": np.full((3, 3), np.inf)},
        {"cell": np.ones((3, 3))},
        {"cell": np.eye(3)[None, None]},
        {"atomic_numbers": np.array([119])},
        {"atomic_numbers": np.array([0])},
        {"atomic_numbers": np.array([29.0])},
        {"atomic_numbers": np.array([[29]])},
        {"atomic_numbers": np.array([], dtype=int), "pos": np.zeros((0, 3))},
        {"pbc": np.array([True, False])},
        {"pbc": "yes"},
    ],
)
def test_invalid_samples_are_not_plain(change):
    assert read_plain([COPPER, COPPER]) is not None
    assert read_plain([COPPER, {**COPPER, **change}]) is None


@pytest.mark.parametrize("key", ["atomic_numbers", "pos", "cell"])
def test_incomplete_samples_are_not_plain(key):
    assert read_plain([COPPER, {k: v for k, v in COPPER.items() if k != key}]) is None


def test_fractional_positions_are_suspected():
    pair = {"atomic_numbers": np.array([8, 8]), "cell": np.eye(3) * 5}
    inside, outside = np.array([[0.0, 0, 0], [1.0, 0.5, 0]]), np.array([[0.0, 0, 0], [1.0, 1.5, 0]])
    assert may_be_fractional(read_plain([COPPER, {**pair, "pos": inside}]))
    assert not may_be_fractional(read_plain([COPPER, {**pair, "pos": outside}]))
