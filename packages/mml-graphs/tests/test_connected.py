import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mml_graphs import PeriodicPropertiesTransform
from mml_graphs.neighbors import adaptive, connected
from mml_graphs.neighbors.connected import connected_edges
from mml_graphs.neighbors.connectivity import connect, unconnected
from mml_graphs.neighbors.find_edges import search
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals
from pymatgen.core import Lattice

ALL, NONE = (True,) * 3, (False,) * 3
LAYERS = {"atomic_numbers": [6], "pos": [[0.0, 0, 0]], "cell": np.diag([2.0, 2.0, 9.0])}

small = crystals(max_atoms=3, min_length=3.0).filter(lambda c: any(c.pbc) or len(c.positions) > 1)


def graph_transform(cutoff, **options):
    return PeriodicPropertiesTransform(cutoff, adaptive_cutoff=True, connectivity="graph", **options)


def length_of(positions, matrix, pbc):
    """Return the length that connects a crystal."""
    edges, _ = connected_edges(np.ascontiguousarray(positions), complete_cell(matrix, pbc), 2.0, "auto")
    return connect(edges, pbc, unconnected(len(positions))).length


def is_one_piece(edges, num_atoms, pbc):
    """Flood crystals of m cells a side, periodic beyond, from one atom: does that reach all atoms of all?

    If so for every prime m, the infinite crystal is one piece; a number of nets that only a prime above 7
    divides does not occur here.
    """
    return all(_fills(edges, num_atoms, pbc, m) for m in (2, 3, 5, 7))


def _fills(edges, num_atoms, pbc, m):
    size = np.where(pbc, m, 1)
    seen = np.zeros((*size, num_atoms), dtype=bool)
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


@pytest.mark.parametrize("most", [None, 0])
@given(crystal=small, cutoff=st.floats(0.5, 5.0))
def test_equals_stepwise_growth(most, crystal, cutoff):
    num_atoms = len(crystal.positions)
    cell = complete_cell(crystal.cell, crystal.pbc)
    with pytest.MonkeyPatch.context() as patch:
        if most is not None:  # never estimate, grow only
            patch.setattr(connected, "FEW", most)
            patch.setattr(connected, "MANY", most)
        edges, radius = connected_edges(crystal.positions, cell, cutoff, "auto")
    assume(len(edges.src) < 5000)
    step = 0
    while True:
        tried = brute_force_edges(*crystal, cutoff + 0.5 * step)
        has_neighbor = len(np.unique(tried.src)) == num_atoms
        if has_neighbor and is_one_piece(tried, num_atoms, crystal.pbc):
            break
        step += 1
    assert radius == cutoff + 0.5 * step
    assert_same_edges(edges, tried)


@given(crystal=small, data=st.data())
def test_length_is_invariant(crystal, data):
    num_atoms, pbc = len(crystal.positions), np.array(crystal.pbc)
    whole = st.integers(-2, 2)
    matrix = crystal.cell.copy()
    for first, second in data.draw(st.lists(st.tuples(*[st.sampled_from(range(3))] * 2), max_size=3)):
        if first != second and pbc[[first, second]].all():
            matrix[first] += data.draw(whole) * matrix[second]  # another cell of the same lattice
    shifts = (
        np.array(data.draw(st.lists(st.tuples(*[whole] * 3), min_size=num_atoms, max_size=num_atoms))) * pbc
    )
    order = np.array(data.draw(st.permutations(range(num_atoms))))
    turn = np.linalg.qr(np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(3, 3)))[0]
    moved = ((crystal.positions + shifts @ crystal.cell)[order] + 0.3) @ turn
    expected = length_of(*crystal)
    assert length_of(moved, matrix @ turn, crystal.pbc) == pytest.approx(expected, abs=1e-9)


@given(crystal=small, multiples=st.tuples(*[st.integers(1, 3)] * 3))
def test_supercells_keep_the_length(crystal, multiples):
    counts = np.where(crystal.pbc, multiples, 1)
    copies = np.indices(counts).reshape(3, -1).T @ crystal.cell
    positions = (crystal.positions + copies[:, None]).reshape(-1, 3)
    expected = length_of(*crystal)
    found = length_of(positions, crystal.cell * counts[:, None], crystal.pbc)
    assert found == pytest.approx(expected, abs=1e-9)


@given(crystal=crystals(max_atoms=3, min_length=3.0, pbc=ALL))
@settings(max_examples=20)
def test_niggli_cells_keep_the_length(crystal):
    niggli = Lattice(crystal.cell).get_niggli_reduced_lattice()
    _, turn, _ = niggli.find_mapping(Lattice(crystal.cell), ltol=1e-6, atol=1e-4)
    turned = crystal.positions @ np.linalg.inv(turn)
    assert length_of(turned, niggli.matrix, ALL) == pytest.approx(length_of(*crystal), abs=1e-5)


@pytest.fixture
def watched(monkeypatch):
    """Return the list of radii that are searched."""
    radii = []

    def watch(positions, cell, radius, backend):
        radii.append(radius)
        return search(positions, cell, radius, backend)

    monkeypatch.setattr(connected, "search", watch)
    return radii


@pytest.mark.parametrize(("most", "num_searches"), [(None, 2), (0, 9)])
def test_growth_needs_two_searches(watched, monkeypatch, most, num_searches):
    if most is not None:  # never estimate, grow only
        monkeypatch.setattr(connected, "FEW", most)
        monkeypatch.setattr(connected, "MANY", most)
    slab = complete_cell(np.diag([3.0, 3.0, 40.2]), ALL)
    edges, radius = connected_edges(np.zeros((1, 3)), slab, 6.0, "auto")
    assert radius == 40.5
    assert edges.distances.max() <= 40.5
    assert len(watched) == num_searches  # not 70


def test_skewed_cells_are_not_searched_too_far(watched):
    skewed = complete_cell(np.array([[3.0, 0, 0], [90, 3, 0], [60, 60, 9]]), ALL)
    assert connected_edges(np.zeros((1, 3)), skewed, 3.0, "auto")[1] == 9.0
    assert watched == [3.0, 9.0]


def test_sufficient_cutoff_stays(watched):
    molecule = np.array([[0.0, 0, 0], [0, 0, 110]])
    edges, radius = connected_edges(molecule, complete_cell(None, NONE), 120.0, "auto")
    assert radius == 120.0  # above the limit of growth too
    assert edges.distances.tolist() == [110.0, 110.0]
    assert connected_edges(np.zeros((1, 3)), complete_cell(np.eye(3) * 3, ALL), 3.0, "auto")[1] == 3.0
    assert watched == [120.0, 3.0]


@pytest.mark.parametrize(("length", "enough"), [(99.9, 100.0), (100.0, 100.0), (100.1, None)])
def test_growth_ends_at_100_angstrom(length, enough):
    layers = complete_cell(np.diag([30.0, 30.0, length]), ALL)
    if enough is None:
        with pytest.raises(ValueError, match=r"along c within 100 angstrom; a cutoff of 100.10 angstrom"):
            connected_edges(np.zeros((1, 3)), layers, 6.3, "auto")
    else:
        assert connected_edges(np.zeros((1, 3)), layers, 6.3, "auto")[1] == enough


def test_the_transform_grows_for_it():
    grown = graph_transform(3.0)
    assert grown(LAYERS)["cutoff_radius"] == 9.0
    assert PeriodicPropertiesTransform(3.0, adaptive_cutoff=True)(LAYERS)["cutoff_radius"] == 3.0
    assert grown({**LAYERS, "pbc": [True, True, False]})["cutoff_radius"] == 3.0
    assert grown({"atomic_numbers": [1, 1], "pos": [[0.0, 0, 0], [0, 0, 7.2]]})["cutoff_radius"] == 7.5


@pytest.mark.parametrize("backend", ["numpy", "pymatgen", "vesin", "ase"])
def test_backends_grow_equally(backend):
    found = graph_transform(3.0, backend=backend)(LAYERS)
    expected = graph_transform(3.0)(LAYERS)
    assert found["cutoff_radius"] == expected["cutoff_radius"] == 9.0
    assert_same_edges(found, expected)


def test_other_options_do_not_change_the_cutoff():
    assert graph_transform(3.0, max_neighbors=4)(LAYERS)["cutoff_radius"] == 9.0
    nearest = graph_transform(3.0, max_neighbors=4)(LAYERS)
    assert not nearest["images"][:, 2].any()  # the layers have lost their edges again
    looped = graph_transform(3.0, allow_self_loops=True)(LAYERS)
    assert looped["cutoff_radius"] == 9.0
    whole, half = graph_transform(3.0)(LAYERS), graph_transform(3.0, is_undirected=True)(LAYERS)
    assert half["cutoff_radius"] == 9.0
    assert 2 * len(half["src_nodes"]) == len(whole["src_nodes"]) == len(looped["src_nodes"]) - 1


@given(crystal=small)
@settings(max_examples=20)
def test_graph_cutoff_is_at_least_atom_cutoff(crystal):
    atoms = PeriodicPropertiesTransform(1.0, adaptive_cutoff=True)(crystal.sample())
    assert graph_transform(1.0)(crystal.sample())["cutoff_radius"] >= atoms["cutoff_radius"]


def test_collate_is_pickled_and_pasted():
    grown = graph_transform(3.0)
    for same in (eval(repr(grown)), pickle.loads(pickle.dumps(grown))):
        assert repr(same) == repr(grown)
        assert same(LAYERS)["cutoff_radius"] == 9.0


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "message"),
    [
        ([[0, 0, 0], [1, 0, 0], [0, 130, 0], [1, 130, 0]], None, NONE,
         "sample 's': the 2 parts of the structure around atoms 0, 2 are not connected within 100 angstrom; "
         "a cutoff of 130.00 angstrom is needed"),
        ([[200 * n, 0, 0] for n in range(9)], None, NONE,
         "the 9 parts of the structure around atoms 0, 1, 2, 3, .* 7, ... are not connected .* 200.00 "),
        ([[0, 0, 0], [1, 0, 0]], np.diag([3.0, 3.0, 120.0]), ALL,
         "sample 's': atom 0 is not connected to its images along c within 100 .* cutoff of 120.00 "),
        ([[0, 0, 0], [0, 150, 0], [0, 40, 0]], np.diag([160.0, 300.0, 9]), ALL,
         "the 2 parts of the structure around atoms 0, 1 are not connected .* cutoff of 160.00 "),
        ([[0, 0, 0], [1, 0, 0]], np.array([[160.0, 0, 0], [0, 140.0, 0], [1600, 1400, 3]]), ALL,
         "atom 0 is not connected to its images along a and b and c within 100 .* cutoff of 159.00 "),
    ],
)  # fmt: skip
def test_unconnected_parts_are_reported(positions, cell, pbc, message):
    sample = {"atomic_numbers": [1] * len(positions), "pos": np.array(positions, float), "sample_id": "s"}
    if cell is not None:
        sample |= {"cell": cell, "pbc": pbc}
    with pytest.raises(ValueError, match=message):
        graph_transform(6.0)(sample)


def test_large_structures_report_no_cutoff(monkeypatch):
    monkeypatch.setattr(connected, "MANY", 2)
    with pytest.raises(ValueError, match=r"the 2 parts .* within 100 angstrom$"):
        connected_edges(np.array([[0.0, 0, 0], [0, 0, 110]]), complete_cell(None, NONE), 6.0, "auto")


@given(crystal=small)
def test_reported_cutoff_connects(crystal):
    cell, needed = complete_cell(crystal.cell, crystal.pbc), length_of(*crystal)
    assume(needed > 1.0)
    with pytest.MonkeyPatch.context() as patch:
        for module in (adaptive, connected):
            patch.setattr(module, "LIMIT", 1.0)
        with pytest.raises(ValueError, match=f"a cutoff of {needed:.2f} angstrom is needed"):
            connected_edges(crystal.positions, cell, 0.5, "auto")


@pytest.mark.parametrize("unknown", ["crystal", None, True, "Graph"])
def test_unknown_connectivity_raises(unknown):
    with pytest.raises(ValueError, match=f"connectivity must be one of 'atoms', 'graph', got {unknown!r}"):
        PeriodicPropertiesTransform(6.0, adaptive_cutoff=True, connectivity=unknown)


def test_graph_connectivity_requires_adaptive_cutoff():
    with pytest.raises(ValueError, match="requires adaptive_cutoff=True"):
        PeriodicPropertiesTransform(6.0, connectivity="graph")
