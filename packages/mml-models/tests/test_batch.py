from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mml_models.batch import read_graph
from mml_models.testing import crystal_batch, random_crystal


def batch():
    return crystal_batch([random_crystal(0, 2), random_crystal(1, 3)], 4.0)


def without(*names):
    found = batch()
    for name in names:
        delattr(found["graph"], name)
    return found


def test_pyg_batch_is_read():
    found = batch()
    graph = read_graph(found)
    assert graph.structure.tolist() == [0, 0, 1, 1, 1]
    assert graph.num_structures == 2
    assert graph.pos is found["graph"].pos
    assert graph.offsets is found["graph"].offsets


def test_unbatched_graph_is_one_structure():
    graph = read_graph(without("batch", "ptr"))
    assert graph.structure.tolist() == [0] * 5
    assert graph.num_structures == 1


def test_structures_are_counted_without_ptr():
    assert read_graph(without("ptr")).num_structures == 2


def test_molecule_needs_no_offsets():
    graph = SimpleNamespace(
        atomic_numbers=torch.tensor([1, 1]), pos=torch.eye(3)[:2], edge_index=torch.tensor([[0, 1], [1, 0]])
    )
    assert read_graph({"graph": graph}).offsets is None
    graph.cell, graph.pbc = torch.eye(3), torch.zeros(1, 3, dtype=torch.bool)
    assert read_graph({"graph": graph}).offsets is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            lambda: {"pos": 1, "energy": 2},
            r"no 'graph', its keys are \['energy', 'pos'\]\. Add PointCloudToGraph",
        ),
        (lambda: without("pos"), r"has no 'pos'\. Add PointCloudToGraphTransform"),
        (lambda: without("atomic_numbers"), "has no 'atomic_numbers'"),
        (lambda: without("edge_index"), r"has no 'edge_index'\. Add PeriodicPropertiesTransform"),
        (lambda: without("offsets"), "periodic .* but has no 'offsets'.* Add PeriodicPropertiesTransform"),
        (lambda: without("offsets", "pbc"), "periodic .* but has no 'offsets'"),
    ],
)
def test_incomplete_graph_raises(broken, message):
    with pytest.raises(ValueError, match=message):
        read_graph(broken())


@pytest.mark.parametrize("value", [-1, 5])
def test_edge_out_of_range_raises(value):
    found = {**batch(), "sample_id": ["emt/000001", "emt/000002"]}
    found["graph"].edge_index[1, -1] = value
    edge = found["graph"].edge_index.shape[1] - 1
    message = f"Edge {edge} of sample 'emt/000002' joins atoms 4 and {value}, but the atoms .* from 0 to 4"
    with pytest.raises(ValueError, match=message):
        read_graph(found)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("pos", lambda x: x[:, :2], r"'pos' has shape \[5, 2\], expected \[5, 3\] for 5 atoms"),
        ("pos", lambda x: x[:4], r"'pos' has shape \[4, 3\], expected \[5, 3\]"),
        ("pos", lambda x: x.long(), "'pos' must have a floating-point dtype, got torch.int64"),
        (
            "atomic_numbers",
            lambda x: x.float(),
            "'atomic_numbers' must have an integer dtype, got torch.float32",
        ),
        ("edge_index", lambda x: x[:, :4].T, r"'edge_index' has shape \[4, 2\], expected \[2, 2\]"),
        ("edge_index", lambda x: x.int(), "'edge_index' must have dtype torch.int64, got torch.int32"),
        ("offsets", lambda x: x[1:], r"'offsets' has shape \[.*, 3\], expected \[.*, 3\] for 5 atoms and"),
    ],
)
def test_wrong_shape_or_dtype_raises(name, change, message):
    found = batch()
    setattr(found["graph"], name, change(getattr(found["graph"], name)))
    with pytest.raises(ValueError, match=message):
        read_graph(found)


def test_edge_between_structures_raises():
    found = {**batch(), "sample_id": ["emt/000001", "emt/000002"]}
    found["graph"].edge_index[:, 1] = torch.tensor([1, 2])
    with pytest.raises(ValueError, match=r"Edge 1 joins sample 'emt/000001' and sample 'emt/000002'\. Build"):
        read_graph(found)


def test_graph_instead_of_batch_raises():
    with pytest.raises(
        TypeError, match=r"must be a dict with a graph under the key 'graph', got a DataBatch"
    ):
        read_graph(batch()["graph"])


def test_graph_of_other_library_raises():
    graph = type("Graph", (), {"__module__": "networkx.classes.graph"})()
    with pytest.raises(TypeError, match=r"a PyG or DGL graph, got a networkx.Graph\. Add PointCloudToGraph"):
        read_graph({"graph": graph})


def test_empty_structure_raises():
    found = batch()
    found["sample_id"] = ["emt/000001", "emt/000002", "emt/000003"]
    found["graph"].ptr = torch.tensor([0, 2, 2, 5])
    with pytest.raises(ValueError, match=r"sample 'emt/000002' has no atoms\. Remove"):
        read_graph(found)
    empty = SimpleNamespace(
        atomic_numbers=torch.zeros(0, dtype=torch.int64),
        pos=torch.zeros(0, 3),
        edge_index=torch.zeros(2, 0, dtype=torch.int64),
    )
    with pytest.raises(ValueError, match="sample 0 of the batch has no atoms"):
        read_graph({"graph": empty})
