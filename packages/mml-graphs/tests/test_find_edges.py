import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mml_graphs.neighbors import native
from mml_graphs.neighbors.find_edges import find_edges, wrap
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals

BACKENDS = [*["native"] * native.available(), "numpy", "pymatgen", "vesin", "ase"]
ALL = (True, True, True)
DATA = Path(__file__).parents[3].parent / "shared" / "data"

quick = settings(max_examples=40)
cutoffs = st.integers(2, 24).map(lambda n: n / 4)


def rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def clear_cutoff(crystal, cutoff):
    """A cutoff near the given one that no distance is so near to that rounding could decide."""
    cutoff += 0.0137
    distances = brute_force_edges(*crystal, cutoff + 1e-5).distances
    assume(not (abs(distances - cutoff) < 1e-5).any())
    return cutoff


@pytest.mark.parametrize("backend", BACKENDS)
@given(crystal=crystals(), cutoff=cutoffs)
@quick
def test_edges_equal_oracle(backend, crystal, cutoff):
    assert_same_edges(find_edges(*crystal, cutoff, backend), brute_force_edges(*crystal, cutoff))


@pytest.mark.parametrize("backend", BACKENDS)
@given(crystal=crystals(max_atoms=2, min_length=1.0, max_length=2.0, pbc=ALL))
@settings(max_examples=10)
def test_edges_equal_oracle_beyond_the_cell(backend, crystal):
    assert_same_edges(find_edges(*crystal, 5.25, backend), brute_force_edges(*crystal, 5.25))


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_cutoff_is_inclusive(backend):
    cubic = (np.zeros((1, 3)), np.eye(3) * 3.0, ALL)
    assert len(find_edges(*cubic, 3.0, backend).src) == 6
    assert len(find_edges(*cubic, np.nextafter(3.0, 0), backend).src) == 0
    third = np.array([[0.1, 0.2, 0.3], [0.7, 0.5, 1.1]])
    distance = find_edges(third, None, (False,) * 3, 2.0, backend).distances[0]
    assert len(find_edges(third, None, (False,) * 3, float(distance), backend).src) == 2


@pytest.mark.parametrize("backend", BACKENDS)
@given(crystal=crystals(), cutoff=cutoffs)
@quick
def test_edges_are_consistent(backend, crystal, cutoff):
    positions, cell, pbc = crystal
    edges = find_edges(positions, cell, pbc, cutoff, backend)
    assert (np.diff(edges.src) >= 0).all()
    assert edges.src.dtype == edges.dst.dtype == np.int64
    assert not edges.images[:, ~np.array(pbc)].any()
    vectors = positions[edges.dst] + edges.images @ cell - positions[edges.src]
    np.testing.assert_allclose(edges.distances, np.linalg.norm(vectors, axis=1), atol=1e-9)
    assert (edges.distances <= cutoff).all()


@given(crystal=crystals(), cutoff=cutoffs, seed=st.integers(0, 99))
@quick
def test_rotation_and_translation_keep_edges(crystal, cutoff, seed):
    cutoff = clear_cutoff(crystal, cutoff)
    q, shift = rotation(seed), np.random.default_rng(seed).normal(size=3) * 3
    moved = find_edges(crystal.positions @ q + shift, crystal.cell @ q, crystal.pbc, cutoff)
    assert_same_edges(moved, find_edges(*crystal, cutoff))


@given(crystal=crystals(), cutoff=cutoffs, data=st.data())
@quick
def test_permutation_renames_atoms(crystal, cutoff, data):
    order = np.array(data.draw(st.permutations(range(len(crystal.positions)))))
    edges = find_edges(crystal.positions[order], crystal.cell, crystal.pbc, cutoff)
    renamed = edges._replace(src=order[edges.src], dst=order[edges.dst])
    assert_same_edges(renamed, find_edges(*crystal, cutoff))


@given(crystal=crystals(), cutoff=cutoffs)
@quick
def test_wrapping_changes_only_images(crystal, cutoff):
    cell = complete_cell(crystal.cell, crystal.pbc)
    wrapped, shifts = wrap(crystal.positions, cell)
    edges = find_edges(wrapped, crystal.cell, crystal.pbc, cutoff)
    if shifts is not None:
        fractions = (wrapped @ cell.inverse)[:, list(crystal.pbc)]
        assert (fractions > -2e-6).all()
        assert (fractions < 1 - 5e-7).all()
        edges = edges._replace(images=edges.images + shifts[edges.src] - shifts[edges.dst])
    assert_same_edges(edges, find_edges(*crystal, cutoff))


@given(crystal=crystals(max_atoms=3, pbc=ALL), cutoff=cutoffs, data=st.data())
@quick
def test_supercells_keep_distances(crystal, cutoff, data):
    repeats = np.array(data.draw(st.tuples(*[st.integers(1, 2)] * 3)))
    shear = np.eye(3)
    shear[data.draw(st.sampled_from([(0, 1), (1, 2), (2, 0)]))] = data.draw(st.sampled_from([-1, 1]))
    copies = np.stack(np.meshgrid(*map(range, repeats), indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (crystal.positions[:, None] + copies @ crystal.cell).reshape(-1, 3)
    edges = find_edges(crystal.positions, crystal.cell, ALL, cutoff)
    larger = find_edges(positions, shear @ (crystal.cell * repeats[:, None]), ALL, cutoff)
    for atom in range(len(positions)):
        np.testing.assert_allclose(
            np.sort(larger.distances[larger.src == atom]),
            np.sort(edges.distances[edges.src == atom // len(copies)]),
            atol=1e-9,
        )


@pytest.mark.parametrize("name", ["materials_project", "lips"])
def test_backends_agree_on_real_structures(name):
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the repository")
    with path.open() as lines:
        entries = [
            json.loads(line) for line, _ in zip(lines, range(100 if name[0] == "m" else 20), strict=False)
        ]
    for entry in entries[:: len(entries) // 20]:
        structure = np.array(entry["positions"]), np.array(entry["cell"]), tuple(entry["pbc"])
        edges = find_edges(*structure, 6.0, "pymatgen")
        assert len(edges.src) > len(structure[0])
        for other in BACKENDS:
            assert_same_edges(find_edges(*structure, 6.0, other), edges)


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_distant_pairs_are_found(backend):
    positions = np.array([[0.0, 0, 0], [0.5, 0, 0], [1e5, -1e5, 1e5], [1e5, -1e5, 1e5 + 0.5]])
    edges = find_edges(positions, None, (False,) * 3, 0.75, backend)
    assert edges.src.tolist() == [0, 1, 2, 3]
    assert edges.dst.tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_slabs_without_third_vector_have_edges(backend):
    cell = np.array([[3.0, 0, 0], [0, 0, -3.0], [0, 0, 0]])
    edges = find_edges(np.array([[0.0, 9.0, 0.0]]), cell, (True, True, False), 3.0, backend)
    assert sorted(map(tuple, edges.images.astype(int).tolist())) == [
        (-1, 0, 0),
        (0, -1, 0),
        (0, 1, 0),
        (1, 0, 0),
    ]
    assert len(find_edges(np.zeros((1, 3)), None, (False,) * 3, 5.0, backend).src) == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("second", [[0.5, 0.5, 0.5], [0.5, 3.5, -2.5], [0.5, 0.5, 0.50001]])
def test_coincident_atoms_raise(backend, second):
    positions = np.array([[1.5, 1.5, 1.5], [0.5, 0.5, 0.5], second])
    with pytest.raises(ValueError, match=r"atoms 1 and 2 are at the same position \[0.5, 0.5, 0.5\]"):
        find_edges(positions, np.eye(3) * 3, ALL, 2.0, backend)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((0, 3))}, r"shape \(0, 3\), expected \[N, 3\] with at least one atom"),
        ({"positions": np.zeros((3, 2))}, r"shape \(3, 2\)"),
        ({"positions": [[0, 0, np.nan]]}, "not finite"),
        ({"cell": np.full((3, 3), np.inf)}, "not finite"),
        ({"cell": np.eye(2)}, r"the cell has shape \(2, 2\)"),
        ({"cell": None}, "'cell' is missing"),
        ({"cell": np.ones((3, 3))}, "no volume"),
        ({"cutoff": 0.0}, "cutoff must be positive and finite, in angstrom, got 0.0"),
        ({"cutoff": -1}, "positive and finite, in angstrom, got -1"),
        ({"cutoff": float("nan")}, "positive and finite, in angstrom, got nan"),
        ({"cutoff": "6"}, "cutoff must be a number, in angstrom, got '6'"),
        ({"cutoff": True}, "cutoff must be a number, in angstrom, got True"),
        (
            {"backend": "torch"},
            "backend must be one of 'auto', 'native', 'numpy', 'pymatgen', 'vesin', 'ase', got 'torch'",
        ),
    ],
)
def test_bad_input_raises(change, message):
    good = {"positions": np.zeros((1, 3)), "cell": np.eye(3), "pbc": ALL, "cutoff": 2.0, "backend": "auto"}
    with pytest.raises(ValueError, match=message):
        find_edges(**(good | change))
