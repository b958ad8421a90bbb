import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from mml_graphs.sample import read_structure
from mml_graphs.structures import join_structures, read_plain
from mml_graphs.testing import crystals
from pymatgen.core import Lattice, Molecule
from pymatgen.core import Structure as PymatgenStructure

COPPER = {"atomic_numbers": np.array([29]), "pos": np.zeros((1, 3)), "cell": 1.8 * (1 - np.eye(3))}
WATER = Atoms("OH2", positions=[[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])


def one_by_one(samples):
    return join_structures([read_structure(sample) for sample in samples])


def assert_same(one, other):
    for name, mine, theirs in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
        assert mine.dtype == theirs.dtype, name


def in_pymatgen(crystal):
    lattice = Lattice(crystal.cell, pbc=crystal.pbc)
    return PymatgenStructure(
        lattice, ["C"] * len(crystal.positions), crystal.positions, coords_are_cartesian=True
    )


def in_ase(crystal):
    return Atoms(
        ["C"] * len(crystal.positions), crystal.positions, cell=crystal.cell, pbc=np.array(crystal.pbc)
    )


@given(some=st.lists(crystals(), min_size=1, max_size=4), as_tensor=st.booleans())
def test_arrays_equal_one_by_one(some, as_tensor):
    samples = []
    for crystal in some:
        sample = {key: np.asarray(value) for key, value in crystal.sample().items()}
        samples.append({k: torch.as_tensor(v) for k, v in sample.items()} if as_tensor else sample)
    read = read_plain(samples)
    assert read is not None
    assert_same(read, one_by_one(samples))
    assert not any(np.shares_memory(read.positions, np.asarray(sample["pos"])) for sample in samples)


@given(some=st.lists(crystals(), min_size=1, max_size=3), convert=st.sampled_from([in_pymatgen, in_ase]))
def test_objects_equal_arrays(some, convert):
    samples = [{"structure": convert(crystal)} for crystal in some]
    read = read_plain(samples)
    assert read is not None
    assert_same(read, one_by_one(samples))
    expected = one_by_one([crystal.sample() for crystal in some])
    np.testing.assert_allclose(read.positions, expected.positions, atol=1e-9)
    for name in ("starts", "atomic_numbers", "cells", "pbc"):
        np.testing.assert_array_equal(getattr(read, name), getattr(expected, name), err_msg=name)


def test_molecules_have_no_cell():
    molecule = Molecule(["O", "H", "H"], WATER.positions)
    plain = {"atomic_numbers": WATER.numbers, "pos": WATER.positions}
    for sample in (plain, {"structure": WATER}, {"structure": molecule}):
        for read in (read_plain([sample, sample]), one_by_one([sample, sample])):
            assert read is not None
            np.testing.assert_array_equal(read.positions, np.tile(WATER.positions, (2, 1)))
            assert read.atomic_numbers.tolist() == [8, 1, 1] * 2
            assert not read.cells.any()
            assert not read.pbc.any()
    assert read_structure({"structure": molecule}).cell is None


def test_mixed_forms_are_read_one_by_one():
    slab = {"structure": in_pymatgen(next_crystal())}
    assert read_plain([COPPER, COPPER]) is not None
    assert read_plain([slab, slab]) is not None
    assert read_plain([COPPER, slab]) is None
    assert read_plain([{"structure": WATER}, slab]) is None
    assert read_plain([slab, {**slab, "pbc": np.ones(3, dtype=bool)}]) is None


def next_crystal():
    class Crystal:
        cell, pbc = np.diag([4.0, 5.0, 9.0]) + 0.1, (True, True, False)
        positions = np.array([[0.1, 0.2, 0.3], [2.0, 2.0, 10.0]])

    return Crystal


def test_disordered_sites_raise():
    lattice = Lattice.cubic(4.0)
    for species in ({"Cu": 0.5, "Au": 0.5}, {"Cu": 0.5}):
        disordered = {"structure": PymatgenStructure(lattice, [species, "Cu"], [[0, 0, 0], [0.5, 0, 0]])}
        assert read_plain([disordered]) is None
        with pytest.raises(ValueError, match="sites that do not consist of a single element"):
            read_structure(disordered)


def test_other_objects_raise():
    with pytest.raises(
        ValueError, match="'structure' is of type str, expected a pymatgen Structure or an ASE"
    ):
        read_structure({"structure": "NaCl"})


@pytest.mark.parametrize(
    "change",
    [
        {"pos": [[0.0, 0, 0]]},
        {"pos": np.zeros((2, 3))},
        {"pos": np.zeros((1, 2))},
        {"pos": np.array([["a", "b", "c"]])},
        {"cell": np.eye(3)[None, None]},
        {"cell": np.array([["a"] * 3] * 3)},
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


def test_incomplete_samples_are_not_plain():
    for key in ("atomic_numbers", "pos"):
        assert read_plain([COPPER, {k: v for k, v in COPPER.items() if k != key}]) is None
    without = {k: v for k, v in COPPER.items() if k != "cell"}
    assert read_plain([COPPER, {**without, "lattice_params": np.ones(6)}]) is None
    assert read_plain([COPPER, {**without, "structure": WATER}]) is None


@given(some=st.lists(crystals(), min_size=1, max_size=5))
def test_one_returns_each_structure(some):
    structures = one_by_one([crystal.sample() for crystal in some])
    for index, crystal in enumerate(some):
        positions, cell = structures.one(index)
        np.testing.assert_array_equal(positions, crystal.positions)
        assert cell.pbc == tuple(crystal.pbc)
    owners = structures.owners(np.arange(len(structures.positions)))
    assert np.bincount(owners).tolist() == structures.counts
