import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.testing import brute_force_edges, crystals
from mml_graphs.transforms._edge_geometry import (
    edge_lengths,
    edge_offsets,
    nearest_images,
    periodicity,
    reduced_masses,
)

quick = settings(max_examples=30)


@given(crystal=crystals(), data=st.data())
@quick
def test_nearest_images_are_nearest(crystal, data):
    coordinate = st.floats(-20, 20)
    start, end = (np.array(data.draw(st.tuples(coordinate, coordinate, coordinate))) for _ in range(2))
    images = nearest_images(torch.tensor(start), torch.tensor(end)[None], crystal.cell, crystal.pbc)
    assert torch.equal(images, images.round())
    assert not images[0, ~torch.tensor(crystal.pbc)].any()
    found = np.linalg.norm(end + images[0].numpy() @ crystal.cell - start)
    reach = np.linalg.norm(end - start) + 1e-6
    edges = brute_force_edges(np.array([start, end]), crystal.cell, crystal.pbc, reach)
    np.testing.assert_allclose(found, edges.distances[edges.src != edges.dst].min(), atol=1e-6)


def graph(edges, **whole):
    ends = torch.tensor([0, 1])
    return GraphData({}, edges, ends, 1 - ends, whole, 2)


def test_offsets_are_computed_from_images():
    images, cell = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]), torch.eye(3)[None] * 2
    given_offsets = edge_offsets(graph({"offsets": images * 2}), torch.float64)
    computed = edge_offsets(graph({"images": images}, cell=cell), torch.float64)
    assert torch.equal(given_offsets, computed)
    assert computed.dtype == torch.float64
    assert not edge_offsets(graph({}), torch.float32).any()


def test_missing_offsets_of_a_crystal_raise():
    with pytest.raises(ValueError, match="'offsets' and 'images' of the edges are missing"):
        edge_offsets(graph({}, cell=torch.eye(3)[None]), torch.float32)


def test_cell_of_zeros_is_not_periodic():
    assert periodicity({"cell": torch.zeros(1, 3, 3)}) == (None, (False,) * 3)
    cell, pbc = periodicity({"cell": torch.eye(3)[None], "pbc": torch.tensor([[True, False, True]])})
    assert cell.shape == (3, 3)
    assert pbc == (True, False, True)


def test_lengths_include_offsets():
    pos, ends = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]), torch.tensor([0, 1])
    offsets = torch.tensor([[2.0, 4.0, 0], [-2.0, -4.0, 0]])
    torch.testing.assert_close(edge_lengths(pos, ends, 1 - ends, offsets), torch.full((2,), 5.0))


def test_super_nodes_are_infinitely_heavy():
    src, dst = torch.tensor([0, 0]), torch.tensor([0, 1])
    masses = reduced_masses(torch.tensor([8, 104]), torch.tensor([0, 3]), src, dst)
    torch.testing.assert_close(masses, torch.tensor([7.9997, 15.9994], dtype=torch.float64))
