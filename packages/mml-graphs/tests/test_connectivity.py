import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mml_graphs import PeriodicPropertiesTransform, connectivity
from mml_graphs.connectivity import connected_edges, connecting_length
from mml_graphs.lattice import complete_cell
from mml_graphs.neighbors import Edges, search
from mml_graphs.testing import brute_force_edges, crystals

ALL, NONE = (True,) * 3, (False,) * 3


def net(*edges):
    """Return edges (src, dst, image, length) in both directions."""
    both = [*edges, *((dst, src, tuple(-i for i in image), length) for src, dst, image, length in edges)]
    src, dst, images, lengths = zip(*both, strict=True)
    order = np.argsort(src, kind="stable")
    return Edges(*(np.array(column)[order] for column in (src, dst, images)), np.array(lengths)[order])


def is_one_piece(edges, n_atoms, pbc):
    """Flood crystals of m cells a side, periodic beyond, from one atom: does that reach all atoms of all?

    If so for every prime m, the infinite crystal is one piece; a number of nets that only a prime above 7
    divides does not occur here.
    """
    return all(_fills(edges, n_atoms, pbc, m) for m in (2, 3, 5, 7))


def _fills(edges, n_atoms, pbc, m):
    size = np.where(pbc, m, 1)
    seen = np.zeros((*size, n_atoms), dtype=bool)
    queue = [(0, 0, 0, 0)]
    seen[queue[0]] = True
    steps = {(s, d, *np.mod(i, size)) for s, d, i in zip(edges.src, edges.dst, edges.images, strict=True)}
    while queue:
        *cell, atom = queue.pop()
        for source, other, *image in steps:
            place = (*np.mod(np.add(cell, image), size).astype(int).tolist(), int(other))
            if source == atom and not seen[place]:
                seen[place] = True
                queue.append(place)
    return bool(seen.all())


small = crystals(max_atoms=3, min_length=3.0).filter(lambda c: any(c.pbc) or len(c.positions) > 1)


@pytest.mark.parametrize("few", [connectivity.FEW, 0])
@given(crystal=small, cutoff=st.floats(0.5, 5.0))
@settings(max_examples=40, deadline=None)
def test_equals_stepwise_growth(few, crystal, cutoff):
    n_atoms = len(crystal.positions)
    cell = complete_cell(crystal.cell, crystal.pbc)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connectivity, "FEW", few)  # 0: never estimate, grow only
        edges, radius = connected_edges(crystal.positions, cell, cutoff, "auto")
    assume(len(edges.src) < 5000)
    expected = cutoff
    while True:
        tried = brute_force_edges(*crystal, expected)
        has_neighbor = len(np.unique(tried.src)) == n_atoms
        if has_neighbor and is_one_piece(tried, n_atoms, crystal.pbc):
            break
        expected += 0.5
    assert radius == pytest.approx(expected)
    assert len(edges.src) == len(tried.src)


@given(crystal=small, data=st.data())
@settings(max_examples=40, deadline=None)
def test_does_not_depend_on_the_choice_of_cell_the_order_of_atoms_or_the_origin(crystal, data):
    cell = complete_cell(crystal.cell, crystal.pbc)
    edges, _ = connected_edges(crystal.positions, cell, 4.0, "auto")
    length = connecting_length(edges, len(crystal.positions), crystal.pbc)
    order = np.array(data.draw(st.permutations(range(len(crystal.positions)))))
    shifts = np.array(data.draw(st.lists(st.integers(-2, 2), min_size=3, max_size=3))) * crystal.pbc
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    matrix = cell.matrix.copy()
    first, *more = [axis for axis in range(3) if crystal.pbc[axis]] or [0]
    for axis in more:
        matrix[axis] += matrix[first]  # another cell of the same lattice
    other = complete_cell(matrix @ turn, crystal.pbc)
    moved = (crystal.positions[order] + shifts @ cell.matrix + 0.3) @ turn
    edges, _ = connected_edges(moved, other, 4.0, "auto")
    assert connecting_length(edges, len(moved), crystal.pbc) == pytest.approx(length, abs=1e-9)


def test_a_supercell_needs_the_same_length():
    layers = np.array([[0.0, 0, 0], [1.5, 1.5, 0.2]])
    cell = np.diag([3.0, 3.0, 7.0])
    doubled = np.concatenate([layers, layers + cell[0], layers + cell[2], layers + cell[0] + cell[2]])
    lengths = []
    for positions, matrix in ((layers, cell), (doubled, np.diag([6.0, 3.0, 14.0]))):
        edges = search(positions, complete_cell(matrix, ALL), 9.0, "auto")
        lengths.append(connecting_length(edges, len(positions), ALL))
    assert lengths[0] == pytest.approx(lengths[1])
    assert lengths[0] == pytest.approx(7.0)


def test_edges_that_generate_a_sublattice_leave_several_nets():
    cubic = [(0, 0, (1, 0, 0), 1.0), (0, 0, (0, 1, 0), 1.0)]
    every_second = (0, 0, (0, 0, 2), 1.5)
    assert connecting_length(net(*cubic, every_second), 1, ALL) == np.inf
    assert connecting_length(net(*cubic, every_second, (0, 0, (0, 1, 3), 2.5)), 1, ALL) == 2.5
    assert connecting_length(net(*cubic), 1, (True, True, False)) == 1.0
    assert connecting_length(net(*cubic), 2, (True, True, False)) == np.inf


def test_two_interwoven_nets_are_not_one():
    body_centred = [
        (atom, atom, tuple(int(i) for i in axis), 3.0) for atom in (0, 1) for axis in np.eye(3, dtype=int)
    ]
    assert connecting_length(net(*body_centred), 2, ALL) == np.inf
    assert connecting_length(net(*body_centred, (0, 1, (0, 0, 0), 3.5)), 2, ALL) == 3.5


@pytest.mark.parametrize(("few", "n_searches"), [(connectivity.FEW, 1), (0, 8)])
def test_does_not_search_again_for_every_step(monkeypatch, few, n_searches):
    radii = []
    monkeypatch.setattr(connectivity, "FEW", few)  # 0: never estimate, grow only

    def watched(positions, cell, radius, backend):
        radii.append(radius)
        return search(positions, cell, radius, backend)

    monkeypatch.setattr(connectivity, "search", watched)
    slab = complete_cell(np.diag([3.0, 3.0, 40.2]), ALL)
    edges, radius = connected_edges(np.zeros((1, 3)), slab, 6.0, "auto")
    assert radius == 40.5
    assert edges.distances.max() <= 40.5
    assert len(radii) == n_searches  # not 69


def test_the_transform_grows_for_it():
    sample = {"atomic_numbers": [6], "pos": [[0.0, 0, 0]], "cell": np.diag([2.0, 2.0, 9.0])}
    grown = PeriodicPropertiesTransform(3.0, adaptive_cutoff=True, connectivity="graph")
    assert grown(sample)["cutoff_radius"] == 9.0
    assert PeriodicPropertiesTransform(3.0, adaptive_cutoff=True)(sample)["cutoff_radius"] == 3.0
    assert repr(eval(repr(grown))) == repr(grown)
    slab = grown({**sample, "pbc": [True, True, False]})
    assert slab["cutoff_radius"] == 3.0
    nearest = PeriodicPropertiesTransform(3.0, adaptive_cutoff=True, connectivity="graph", max_neighbors=4)
    assert nearest(sample)["cutoff_radius"] == 9.0


def test_a_nominal_cutoff_beyond_the_last_step_stays():
    cell = complete_cell(np.diag([40.0, 40.0, 40.0]), ALL)
    edges, radius = connected_edges(np.zeros((1, 3)), cell, 120.0, "auto")
    assert radius == 120.0
    assert edges.distances.max() == pytest.approx(120.0)


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "message"),
    [
        ([[0, 0, 0], [1, 0, 0], [0, 130, 0], [1, 130, 0]], None, NONE,
         "sample 's': atoms 0 and 2 are not connected within 100 angstrom; a cutoff of 130.00 "),
        ([[0, 0, 0], [1, 0, 0]], np.diag([3.0, 3.0, 120.0]), ALL,
         "sample 's': atom 0 is not connected to all of its periodic images within 100 .* cutoff of 120.00 "),
    ],
)  # fmt: skip
def test_what_no_cutoff_connects_is_said(positions, cell, pbc, message):
    grown = PeriodicPropertiesTransform(6.0, adaptive_cutoff=True, connectivity="graph")
    sample = {"atomic_numbers": [1] * len(positions), "pos": np.array(positions, float), "sample_id": "s"}
    if cell is not None:
        sample |= {"cell": cell, "pbc": pbc}
    with pytest.raises(ValueError, match=message):
        grown(sample)


def test_bad_arguments():
    with pytest.raises(ValueError, match="connectivity is 'crystal'; known: 'atoms', 'graph'"):
        PeriodicPropertiesTransform(6.0, adaptive_cutoff=True, connectivity="crystal")
    with pytest.raises(ValueError, match="say adaptive_cutoff=True"):
        PeriodicPropertiesTransform(6.0, connectivity="graph")
