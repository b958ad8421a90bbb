import numpy as np
import pytest
import torch
from mml_graphs.libraries.graph_data import join_ends
from mml_graphs.sample import Structure
from mml_graphs.sample_tensors import float_dtype, sample_tensors
from mml_graphs.structure_edges import find_structure_edges
from mml_graphs.structures import join_structures


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_floats_have_the_default_dtype(dtype):
    cube = join_structures([Structure(np.ones(1, dtype=int), np.zeros((1, 3)), np.eye(3) * 3, (True,) * 3)])
    torch.set_default_dtype(dtype)
    try:
        edges = find_structure_edges(cube, np.array([3.0]), "auto", None)
        tensors = sample_tensors(cube, edges)
        assert edges.distances.dtype == float_dtype()
    finally:
        torch.set_default_dtype(torch.float32)
    floats = {key for key, value in tensors.items() if value.is_floating_point()}
    assert floats == {"pos", "cell", "images", "offsets", "unit_offsets", "distances"}
    assert {tensors[key].dtype for key in floats} == {dtype}
    assert tensors["distances"].tolist() == [3.0] * 6
    ends = join_ends(tensors["src_nodes"], tensors["dst_nodes"])
    assert ends.data_ptr() == tensors["edge_index"].data_ptr() == edges.edge_index.ctypes.data
