import numpy as np
import pytest
import torch
from hypothesis import given, settings
from mml_graphs.libraries.graph_data import join_ends
from mml_graphs.neighbors.find_edges import find_edges
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.sample_tensors import as_tensors, edge_geometry, empty_batch, float_dtype, sample_arrays
from mml_graphs.testing import crystals


@given(crystal=crystals())
@settings(max_examples=30)
def test_unit_offsets_are_fractional_edge_vectors(crystal):
    cell = complete_cell(crystal.cell, crystal.pbc)
    edges = find_edges(*crystal, 4.0)
    offsets, unit_offsets = edge_geometry(crystal.positions, cell, edges)
    vectors = crystal.positions[edges.dst] + offsets - crystal.positions[edges.src]
    np.testing.assert_allclose(unit_offsets @ cell.matrix, vectors, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_floats_have_the_default_dtype(dtype):
    positions, cell = np.zeros((1, 3)), complete_cell(np.eye(3) * 3, (True,) * 3)
    torch.set_default_dtype(dtype)
    try:
        edges = find_edges(positions, cell.matrix, cell.pbc, 3.0)
        geometry = edge_geometry(positions, cell, edges)
        arrays = sample_arrays(np.ones(1, dtype=int), positions, cell.matrix, [cell.pbc], edges, *geometry)
        tensors = as_tensors(arrays)
    finally:
        torch.set_default_dtype(torch.float32)
    floats = {key for key, value in tensors.items() if value.is_floating_point()}
    assert floats == {"pos", "cell", "images", "offsets", "unit_offsets", "distances"}
    assert {tensors[key].dtype for key in floats} == {dtype}
    assert tensors["distances"].tolist() == [3.0] * 6


def test_batch_arrays_do_not_overlap():
    arrays = empty_batch(2, 3, 5)
    arrays = {key: array for key, array in arrays.items() if key not in ("src_nodes", "dst_nodes")}
    for number, array in enumerate(arrays.values()):
        array[...] = number % 2 if array.dtype == np.bool_ else number
    for number, (key, array) in enumerate(arrays.items()):
        assert (array == (number % 2 if array.dtype == np.bool_ else number)).all(), key
        assert array.ctypes.data % 64 == 0, key
    assert arrays["pos"].dtype == float_dtype()


def test_long_ends_stay_rows_of_one_tensor():
    ends = np.zeros((2, 20_000), dtype=np.int64)
    tensors = as_tensors({"src_nodes": ends[0], "dst_nodes": ends[1], "pos": np.zeros((1, 3), np.float32)})
    assert join_ends(tensors["src_nodes"], tensors["dst_nodes"]).data_ptr() == ends.ctypes.data
