import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.neighbors import native
from mml_graphs.neighbors.edges import COINCIDENT, edge_lengths
from mml_graphs.neighbors.find_edges import find_edges
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.testing import crystals

if not native.available():
    pytest.skip("the search in C is not installed or disabled", allow_module_level=True)

ALL = (True, True, True)

# Number of batches, of about 3 crystals each, that are compared with the oracle. 35,000 take some minutes.
BATCHES = int(os.environ.get("MML_GRAPHS_BATCHES", "300"))


def oracle(positions, cell, pbc, cutoff):
    """All edges, sorted, from every pair in every image that may be near enough, in float64."""
    whole = complete_cell(cell, pbc)
    fractions = positions @ whole.inverse
    spread = np.ptp(fractions, axis=0)
    reach = np.ceil(cutoff * np.linalg.norm(whole.inverse, axis=0) + spread).astype(int) + 1
    grid = [range(-r, r + 1) if periodic else (0,) for r, periodic in zip(reach, pbc, strict=True)]
    images = np.array(list(product(*grid)), dtype=np.float64)
    src, dst, image = (a.ravel() for a in np.indices((len(positions), len(positions), len(images))))
    lengths = edge_lengths(positions, whole, src, dst, images[image])
    near = (lengths <= cutoff) & ((src != dst) | images.any(axis=1)[image])
    return src[near], dst[near], images[image[near]], lengths[near]


def batch_of(structures, cutoffs):
    positions, cells, pbc = zip(*structures, strict=True)
    starts = np.cumsum([0, *map(len, positions)])
    return np.concatenate(positions), starts, np.array(cells), np.array(pbc, dtype=bool), np.array(cutoffs)


def assert_equals_oracle(structures, cutoffs, dtype, threads):
    arrays = batch_of(structures, cutoffs)
    found = native.find_batch_edges(*arrays, dtype=dtype, num_threads=threads)
    starts, first = arrays[1], 0
    for k, (structure, cutoff) in enumerate(zip(structures, cutoffs, strict=True)):
        src, dst, images, lengths = oracle(*structure, cutoff)
        rows = slice(first, first + found.num_edges[k])
        np.testing.assert_array_equal(found.edge_index[:, rows] - starts[k], [src, dst])
        np.testing.assert_array_equal(found.images[rows], images)
        np.testing.assert_array_equal(found.distances[rows], lengths.astype(dtype))
        degrees = np.bincount(src, minlength=len(structure[0]))
        np.testing.assert_array_equal(found.degrees[starts[k] : starts[k + 1]], degrees)
        whole = complete_cell(*structure[1:])
        fractions = structure[0] @ whole.inverse
        accuracy = 1e-5 if dtype == np.float32 else 1e-9
        np.testing.assert_allclose(found.offsets[rows], images @ whole.matrix, rtol=accuracy, atol=accuracy)
        units = fractions[dst] - fractions[src] + images
        np.testing.assert_allclose(found.unit_offsets[rows], units, rtol=accuracy, atol=10 * accuracy)
        first = rows.stop
    assert first == len(found.distances)


cutoffs = st.integers(2, 24).map(lambda n: n / 4)
dtypes = st.sampled_from([np.float32, np.float64])


@given(st.lists(st.tuples(crystals(), cutoffs), min_size=1, max_size=6), dtypes, st.integers(1, 3))
@settings(max_examples=BATCHES)
def test_batches_equal_oracle(members, dtype, threads):
    structures, radii = zip(*members, strict=True)
    assert_equals_oracle(structures, radii, dtype, threads)


def random_structure(rng, most=6):
    """A structure of any size, periodicity, skew and handedness, with atoms anywhere."""
    pbc = tuple((rng.random(3) < 0.7).tolist())
    cell = rng.normal(size=(3, 3)) * np.exp(rng.uniform(0.0, 2.0))
    if rng.random() < 0.3:
        cell[rng.integers(3)] += rng.integers(-9, 10) * cell[rng.integers(3)]
    if rng.random() < 0.2 and not all(pbc):
        cell[~np.array(pbc)] = 0.0
    whole = complete_cell(cell, pbc)
    fractions = rng.uniform(-1.0, 2.0, size=(rng.integers(1, most), 3))
    if rng.random() < 0.2:
        fractions[:, np.array(pbc)] += rng.integers(-500, 500, size=sum(pbc))
    return fractions @ whole.matrix, cell, pbc


def random_batch(rng, size):
    members = []
    while len(members) < size:
        try:
            structure = random_structure(rng)
        except ValueError:
            continue  # no volume
        inverse = complete_cell(*structure[1:]).inverse
        cutoff = float(np.exp(rng.uniform(-1.0, 2.0)))
        images = np.prod(2 * np.where(structure[2], cutoff * np.linalg.norm(inverse, axis=0) + 3, 0) + 1)
        if images * len(structure[0]) ** 2 < 1e5 and (oracle(*structure, 0.01)[3] > COINCIDENT).all():
            members.append((structure, cutoff))
    return members


@pytest.mark.parametrize("seed", range(6))
def test_arbitrary_cells_equal_oracle(seed):
    structures, radii = zip(*random_batch(np.random.default_rng(seed), 60), strict=True)
    assert_equals_oracle(structures, radii, np.float64, 1 + seed % 3)


def gas(num_atoms, volume_per_atom, pbc, shape, seed=0):
    """Atoms in a skewed box, farther apart than coincident atoms, in random order."""
    rng = np.random.default_rng(seed)
    cell = np.diag(shape) + rng.normal(size=(3, 3)) * 0.2 * min(shape)
    cell *= (num_atoms * volume_per_atom / abs(np.linalg.det(cell))) ** (1 / 3)
    return rng.uniform(-0.5, 1.5, size=(num_atoms, 3)) @ cell, cell, pbc


@pytest.mark.parametrize("pbc", list(product([True, False], repeat=3)))
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (8, 8, 0.5), (0.3, 0.3, 30)])
def test_linked_cells_equal_numpy(pbc, shape):
    structure = gas(700, 30.0, pbc, shape)
    for cutoff in (1.5, 4.0):
        expected = find_edges(*structure, cutoff, "numpy")
        found = find_edges(*structure, cutoff, "native")
        order = np.lexsort((*expected.images.T[::-1], expected.dst, expected.src))
        for one, other in zip(found[:3], expected.take(order)[:3], strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(
            found.distances, edge_lengths(structure[0], complete_cell(*structure[1:]), *found[:3])
        )


def test_threads_keep_every_bit():
    batch = batch_of([gas(n, 15.0, ALL, (1, 2, 3), n) for n in (1, 5, 300, 9000, 2, 5000, 83)], [4.0] * 7)
    one = native.find_batch_edges(*batch, num_threads=1)
    assert one.num_edges.min() > 0
    for threads in (2, 3, 8, 1000):
        for a, b in zip(one, native.find_batch_edges(*batch, num_threads=threads), strict=True):
            np.testing.assert_array_equal(a, b)


def test_reverse_edges_have_equal_length():
    structure = gas(500, 20.0, ALL, (1, 1, 1))
    found = find_edges(*structure, 5.0, "native")
    rows = np.column_stack([found.src, found.dst, found.images])
    mirrored = np.column_stack([found.dst, found.src, -found.images])
    order = np.lexsort(mirrored.T[::-1])
    np.testing.assert_array_equal(mirrored[order], rows)
    np.testing.assert_array_equal(found.distances[order], found.distances)


def test_calls_from_threads_are_independent():
    batch = batch_of([gas(n, 15.0, ALL, (1, 1, 1), n) for n in range(1, 60)], [4.0] * 59)
    expected = native.find_batch_edges(*batch)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: native.find_batch_edges(*batch, num_threads=2), range(40)):
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)


def count_in_child(structure):
    return len(find_edges(*structure, 4.0, "native").src)


def test_forked_process_finds_edges():
    structure = gas(6000, 15.0, ALL, (1, 1, 1))
    expected = len(find_edges(*structure, 4.0, "native").src)
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map(count_in_child, [structure] * 4) == [expected] * 4


def test_default_threads_follow_torch():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert native.default_threads() == 3
    finally:
        torch.set_num_threads(before)


class CountThreads(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        torch.set_num_threads(2)
        return native.default_threads()


def test_workers_use_one_thread():
    loader = torch.utils.data.DataLoader(CountThreads(), num_workers=1, batch_size=2)
    assert [batch.tolist() for batch in loader] == [[1, 1]]


def one(positions, cell=None, pbc=ALL, cutoff=3.0, **more):
    cell = np.eye(3) * 3.0 if cell is None else cell
    return native.find_batch_edges(
        *batch_of([(np.array(positions, dtype=float), cell, pbc)], [cutoff]), **more
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": [[0, 0, np.nan]]}, "positions or cell contain values that are not finite"),
        ({"positions": [[0, -np.inf, 0]]}, "not finite"),
        ({"positions": [[0, 0, 0]], "cell": np.full((3, 3), np.nan)}, "not finite"),
        ({"positions": [[0, 0, 0]], "cell": np.ones((3, 3))}, "has no volume in its periodic directions"),
        ({"positions": [[0, 0, 0]], "cell": np.full((3, 3), 1e308)}, "no volume"),
        ({"positions": [[0, 0, 0]], "cell": np.zeros((3, 3)), "pbc": (True, False, False)}, "no volume"),
        ({"positions": [[0, 0, 0]], "cutoff": np.nan}, "cutoff must be positive and finite"),
        ({"positions": [[0, 0, 0]], "cutoff": np.inf}, "cutoff must be positive and finite"),
        ({"positions": [[0, 0, 0]], "cutoff": -1.0}, "cutoff must be positive and finite"),
        ({"positions": [[0, 0, 0], [3, 3, -3]]}, r"atoms 0 and 1 are at the same position \[0.0, 0.0, 0.0\]"),
        ({"positions": [[1e9, 0, 0]]}, r"atom 0 is 3.33e\+08 cells outside the cell"),
        (
            {"positions": [[0, 0, 0]], "cutoff": 1e5},
            r"gives about 1.6e\+14 edges, more than the limit of 536,870",
        ),
        ({"positions": [[0, 0, 0]], "cutoff": 1e300}, "edges, more than the limit"),
        ({"positions": [[0, 0, 0]], "cutoff": 30.0, "max_edges": 1000}, r"about 4.2e\+03 edges, more than"),
        ({"positions": np.random.default_rng(0).uniform(size=(400, 3)) * 3, "max_edges": 999}, "more than"),
    ],
)
def test_invalid_structures_raise(arguments, message):
    with pytest.raises(native.StructureError, match=message):
        one(**arguments)


def test_error_names_first_structure():
    good, bad = (np.zeros((1, 3)), np.eye(3), ALL), (np.zeros((2, 3)), np.eye(3), ALL)
    batch = batch_of([good, bad, good, bad] * 20, [1.5] * 80)
    for threads in (1, 2):
        with pytest.raises(native.StructureError, match="atoms 0 and 1") as caught:
            native.find_batch_edges(*batch, num_threads=threads)
        assert caught.value.structure == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: np.zeros((2, 3))}, "positions has 48 bytes, expected 24"),
        ({0: np.zeros((1, 3), np.float32)}, "positions has 12 bytes"),
        ({1: np.array([0, 2, 1])}, "starts must be int64"),
        ({1: np.array([1, 1])}, "starts must be int64"),
        ({1: np.array([], dtype=np.int64)}, "starts must be int64"),
        ({2: np.eye(3)[None].repeat(2, 0)}, "cells has 144 bytes, expected 72"),
        ({3: np.ones((1, 2), bool)}, "pbc has 2 bytes, expected 3"),
        ({4: np.ones(2)}, "cutoffs has 16 bytes, expected 8"),
    ],
)
def test_wrong_shapes_raise(change, message):
    arrays = list(batch_of([(np.zeros((1, 3)), np.eye(3), ALL)], [1.5]))
    for index, value in change.items():
        arrays[index] = value
    with pytest.raises(ValueError, match=message):
        native.find_batch_edges(*arrays)


def test_arrays_that_are_not_contiguous_raise():
    arrays = batch_of([(np.zeros((2, 3)), np.eye(3), ALL)], [1.5])
    with pytest.raises((BufferError, ValueError), match="contiguous"):
        native.find_batch_edges(np.asfortranarray(arrays[0]), *arrays[1:])


def test_empty_batches_have_no_edges():
    found = native.find_batch_edges(
        np.zeros((0, 3)), np.array([0]), np.zeros((0, 3, 3)), np.zeros((0, 3), bool), np.zeros(0)
    )
    assert found.edge_index.shape == (2, 0)
    assert len(found.num_edges) == len(found.degrees) == 0


def test_omitted_arrays_are_none():
    found = one([[0, 0, 0]], images=False, offsets=False, unit_offsets=False, distances=False)
    assert found[1:5] == (None,) * 4
    assert found.edge_index.tolist() == [[0] * 6] * 2


@pytest.mark.parametrize(("value", "expected"), [("0", "False"), ("1", "True"), ("", "True")])
def test_variable_disables_search(value, expected):
    code = "from mml_graphs.neighbors import native; print(native.available())"
    environment = os.environ | {"MML_GRAPHS_NATIVE": value}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True
    )
    assert done.stdout.strip() == expected


def test_wrong_variable_raises(monkeypatch):
    monkeypatch.setenv("MML_GRAPHS_NATIVE", "yes")
    with pytest.raises(ValueError, match="MML_GRAPHS_NATIVE must be 0 or 1, got 'yes'"):
        native.why_not.__wrapped__()


def test_missing_module_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "mml_graphs.neighbors._native", None)
    monkeypatch.delenv("MML_GRAPHS_NATIVE", raising=False)
    assert "the search in C is not installed" in native.why_not.__wrapped__()
    monkeypatch.setenv("MML_GRAPHS_NATIVE", "1")
    with pytest.raises(ImportError, match=r"MML_GRAPHS_NATIVE is 1, but .* Install a C compiler"):
        native.why_not.__wrapped__()
    monkeypatch.setenv("MML_GRAPHS_NATIVE", "0")
    assert native.why_not.__wrapped__() == "the search in C is disabled by MML_GRAPHS_NATIVE=0"
