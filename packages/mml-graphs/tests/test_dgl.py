import pytest
import torch
from mml_graphs.libraries import dgl as ours
from mml_graphs.libraries.graph_data import GraphData


def data(nodes=None, whole=None, num_nodes=2):
    src, dst = torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0])
    if not num_nodes:
        src, dst = src[:0], dst[:0]
    return GraphData(nodes or {}, {"weight": torch.arange(len(src))}, src, dst, whole or {}, num_nodes)


def test_whole_data_is_repeated_per_node(dgl):
    cell = torch.eye(3)[None]
    graph = ours.build(data({"pos": torch.zeros(2, 3)}, {"cell": cell, "energy": -1.5, "n": 3, "ok": True}))
    assert isinstance(graph, dgl.DGLGraph)
    assert graph.ndata["whole.cell"].shape == (2, 1, 3, 3)
    assert graph.ndata["whole.cell"].untyped_storage().nbytes() == cell.untyped_storage().nbytes()
    assert graph.edata["weight"].tolist() == [0, 1, 2]
    batch = dgl.batch([graph, graph])
    assert torch.equal(batch.ndata["whole.cell"], cell.expand(4, 1, 3, 3))
    whole = ours.take_apart(dgl.unbatch(batch)[1]).whole
    assert torch.equal(whole["cell"], cell)
    assert {name: whole[name].item() for name in ("energy", "n", "ok")} == {
        "energy": -1.5,
        "n": 3,
        "ok": True,
    }
    assert whole["energy"].dtype == torch.float64


@pytest.mark.usefixtures("dgl")
def test_graph_copies_indices():
    parts = data()
    graph = ours.build(parts)
    parts.src.fill_(1)
    assert ours.take_apart(graph).src.tolist() == [0, 0, 1]
    # To send a tensor, a worker of a DataLoader moves it to shared memory and frees where it was.
    parts = data()
    graph = ours.build(parts)
    for indices in (parts.src, parts.dst):
        indices.share_memory_()
    assert ours.take_apart(graph).dst.tolist() == [1, 1, 0]


def test_first_node_decides_whole_data(dgl):
    graph = ours.build(data(whole={"natoms": torch.tensor([2])}))
    graph.ndata["whole.natoms"] = torch.full((2, 1), 7)
    assert ours.take_apart(graph).whole["natoms"].tolist() == [7]


def test_saved_graphs_keep_data(dgl, tmp_path):
    path = str(tmp_path / "graphs.bin")
    dgl.save_graphs(path, [ours.build(data(whole={"natoms": torch.tensor([2])}))])
    (graph,), _ = dgl.load_graphs(path)
    assert ours.take_apart(graph).whole["natoms"].tolist() == [2]


def test_foreign_graphs_are_taken_apart(dgl):
    graph = dgl.graph(([0, 0, 1], [1, 1, 1]), num_nodes=3, idtype=torch.int32)
    graph.ndata["feat"] = torch.rand(3, 2)
    graph.edata["w"] = torch.rand(3)
    parts = ours.take_apart(graph)
    assert (parts.src.tolist(), parts.dst.tolist(), parts.num_nodes) == ([0, 0, 1], [1, 1, 1], 3)
    assert parts.src.dtype == torch.int64
    assert (parts.nodes.keys(), parts.edges.keys(), parts.whole) == ({"feat"}, {"w"}, {})
    several = dgl.heterograph({("atom", "bond", "atom"): ([0], [1]), ("atom", "near", "atom"): ([0], [1])})
    with pytest.raises(
        ValueError, match=r"the edge types \['bond', 'near'\], expected a single type of each"
    ):
        ours.take_apart(several)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"whole": {"smiles": "CO"}},
            "'smiles' is of type str, but DGL stores only tensors. Keep it in the sample",
        ),
        ({"whole": {"none": None}}, "'none' is of type NoneType"),
        (
            {"nodes": {"whole.cell": torch.ones(2)}},
            r"data of a graph cannot have the name 'whole.cell': names that begin with",
        ),
        (
            {"whole": {"cell": torch.ones(1)}, "num_nodes": 0},
            r"DGL cannot store \['cell'\] in a graph without nodes",
        ),
    ],
)
def test_unsupported_parts_raise(dgl, parts, message):
    with pytest.raises(ValueError, match=message):
        ours.build(data(**parts))
