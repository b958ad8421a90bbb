import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.neighbors.connected import connected_edges
from mml_graphs.neighbors.connectivity import connect, connects_more, directions_apart, unconnected
from mml_graphs.neighbors.edges import Edges
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.testing import brute_force_edges, crystals

ALL = (True,) * 3

small = crystals(max_atoms=3, min_length=3.0).filter(lambda c: any(c.pbc) or len(c.positions) > 1)


def connecting_length(edges, num_atoms, pbc):
    return connect(edges, pbc, unconnected(num_atoms)).length


def net(*edges):
    """Return edges (src, dst, image, length) in both directions."""
    both = [*edges, *((dst, src, tuple(-i for i in image), length) for src, dst, image, length in edges)]
    src, dst, images, lengths = zip(*both, strict=True)
    order = np.argsort(src, kind="stable")
    return Edges(*(np.array(column)[order] for column in (src, dst, images)), np.array(lengths)[order])


@st.composite
def nets(draw):
    """Draw a periodic graph without positions: edges as for `net`, many of equal length; atoms; and pbc."""
    pbc = draw(st.tuples(*[st.booleans()] * 3))
    num_atoms = draw(st.integers(1, 12))
    atom, component = st.integers(0, num_atoms - 1), st.integers(-3, 3)
    image = st.tuples(*(component if periodic else st.just(0) for periodic in pbc))
    edge = st.tuples(atom, atom, image, st.integers(1, 9).map(float)).filter(
        lambda e: e[0] != e[1] or any(e[2])
    )
    edges = draw(st.lists(edge, min_size=1, max_size=30))
    near = st.sampled_from([1.0, 5.0, 9.0])
    edges += [(n, draw(st.integers(0, n - 1)), draw(image), draw(near)) for n in range(1, num_atoms)]
    return edges, num_atoms, pbc


def walk(edges, num_atoms):
    """Return the image in which each atom is reached from the first one, atom by atom, and all cycles."""
    reached, queue = {0: np.zeros(3, dtype=int)}, [0]
    both = [*edges, *((dst, src, tuple(-i for i in image), length) for src, dst, image, length in edges)]
    while queue:
        atom = queue.pop()
        for src, dst, image, _ in both:
            if src == atom and dst not in reached:
                reached[dst] = reached[atom] + image
                queue.append(dst)
    if len(reached) < num_atoms:
        return None
    return [reached[src] + image - reached[dst] for src, dst, image, _ in edges]


@given(nets())
@settings(max_examples=200)
def test_connection_equals_oracle(drawn):
    edges, num_atoms, pbc = drawn
    expected = math.inf
    for length in sorted({edge[3] for edge in edges}):
        cycles = walk([edge for edge in edges if edge[3] <= length], num_atoms)
        if cycles is not None:
            columns = {tuple(cycle[list(pbc)]) for cycle in cycles}
            some = list(combinations(columns, sum(pbc)))
            minors = np.linalg.det(np.reshape(some, (len(some), sum(pbc), sum(pbc)))).round()
            if np.gcd.reduce(minors.astype(int)) == 1:
                expected = length
                break
    assert connecting_length(net(*edges), num_atoms, pbc) == expected


@given(crystal=small, radii=st.lists(st.floats(0.5, 12.0), min_size=1, max_size=3).map(sorted))
def test_more_edges_stay_connected(crystal, radii):
    num_atoms, pbc = len(crystal.positions), crystal.pbc
    grown, _ = connected_edges(crystal.positions, complete_cell(crystal.cell, pbc), 2.0, "auto")
    expected, known = connecting_length(grown, num_atoms, pbc), unconnected(num_atoms)
    for radius in radii:
        edges = brute_force_edges(*crystal, radius)
        found = connect(edges, pbc, unconnected(num_atoms))
        assert found.length == (pytest.approx(expected) if radius >= expected else math.inf)
        if math.isinf(known.length):
            more = edges.take(connects_more(edges, known))
            known = connect(more, pbc, known)
            assert known.length == found.length
            assert directions_apart(known, pbc) == directions_apart(found, pbc)


def test_sublattices_leave_several_nets():
    cubic = [(0, 0, (1, 0, 0), 1.0), (0, 0, (0, 1, 0), 1.0)]
    every_second = (0, 0, (0, 0, 2), 1.5)
    assert connecting_length(net(*cubic, every_second), 1, ALL) == np.inf
    assert connecting_length(net(*cubic, every_second, (0, 0, (0, 1, 3), 2.5)), 1, ALL) == 2.5
    assert connecting_length(net(*cubic), 1, (True, True, False)) == 1.0
    assert directions_apart(connect(net(*cubic), ALL, unconnected(1)), ALL) == [2]
    assert directions_apart(connect(net(*cubic, every_second), ALL, unconnected(1)), ALL) == [2]
    assert directions_apart(unconnected(1), (True, False, True)) == [0, 2]
    assert connecting_length(net(*cubic), 2, (True, True, False)) == np.inf


def test_interwoven_nets_are_not_connected():
    body_centered = [
        (atom, atom, tuple(int(i) for i in axis), 3.0) for atom in (0, 1) for axis in np.eye(3, dtype=int)
    ]
    assert connecting_length(net(*body_centered), 2, ALL) == np.inf
    assert connecting_length(net(*body_centered, (0, 1, (0, 0, 0), 3.5)), 2, ALL) == 3.5


def test_nets_with_shared_atoms_are_not_connected():
    # Each atom has edges to the second next cells only: eight nets of a doubled cell, all of one atom.
    doubled = [(0, 0, tuple(int(i) for i in 2 * axis), 3.0) for axis in np.eye(3, dtype=int)]
    assert connecting_length(net(*doubled), 1, ALL) == np.inf
    odd = [(0, 0, image, 4.0 + n) for n, image in enumerate([(1, 1, 0), (0, 1, 1), (1, 1, 1)])]
    assert connecting_length(net(*doubled, *odd[:2]), 1, ALL) == np.inf  # the sums are even still
    assert connecting_length(net(*doubled, *odd), 1, ALL) == 6.0
