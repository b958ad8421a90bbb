import os
from types import SimpleNamespace

import pytest
import torch
from mml_samples import DGLView, graph_of, is_dgl


@pytest.fixture(scope="module")
def dgl():
    os.environ.setdefault("DGLBACKEND", "pytorch")  # otherwise DGL writes a file to the home folder
    return pytest.importorskip("dgl", exc_type=ImportError)


@pytest.fixture
def graph(dgl):
    """Return a batch of two structures, of two and three atoms."""
    parts = []
    for num_atoms in (2, 3):
        ends = torch.arange(num_atoms)
        part = dgl.graph((ends, ends.roll(1)), num_nodes=num_atoms)
        part.ndata.update({"pos": torch.rand(num_atoms, 3), "atomic_numbers": ends + 1})
        part.ndata["whole.cell"] = (torch.eye(3) * num_atoms).expand(num_atoms, 3, 3)
        part.edata["offsets"] = torch.zeros(num_atoms, 3)
        parts.append(part)
    return dgl.batch(parts)


def test_other_objects_are_not_dgl():
    assert not is_dgl(SimpleNamespace())
    assert not is_dgl(None)


def test_view_reads_arrays_under_pyg_names(graph):
    assert is_dgl(graph)
    view = graph_of({"graph": graph})
    assert isinstance(view, DGLView)
    assert view.pos is graph.ndata["pos"]
    assert view.atomic_numbers.tolist() == [1, 2, 1, 2, 3]
    assert view.edge_index.tolist() == [[0, 1, 2, 3, 4], [1, 0, 4, 2, 3]]
    assert (view.natoms.tolist(), view.ptr.tolist(), view.batch.tolist()) == (
        [2, 3],
        [0, 2, 5],
        [0, 0, 1, 1, 1],
    )
    assert view.cell[:, 0, 0].tolist() == [2.0, 3.0]
    with pytest.raises(AttributeError, match="the DGL graph has no 'spin'"):
        _ = view.spin


def test_view_writes_to_graph(graph):
    view = DGLView(graph)
    view.pos, view.offsets, view.extra = torch.ones(5, 3), torch.ones(5, 3), torch.zeros(5)
    view.cell = torch.stack([torch.eye(3), torch.eye(3) * 7])
    assert graph.ndata["pos"].sum() == graph.edata["offsets"].sum() == 15
    assert "extra" in graph.ndata
    assert graph.ndata["whole.cell"][:, 0, 0].tolist() == [1, 1, 7, 7, 7]


def test_graph_of_several_types_raises(dgl):
    ends = (torch.tensor([0]), torch.tensor([1]))
    graph = dgl.heterograph({("a", "to", "a"): ends, ("a", "back", "a"): ends})
    with pytest.raises(
        ValueError, match=r"node types \['a'\] and edge types \['back', 'to'\], expected one type"
    ):
        DGLView(graph)
