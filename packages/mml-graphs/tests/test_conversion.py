import pytest
import torch
from hypothesis import given, settings
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform, dgl_to_pyg, pyg_to_dgl
from mml_graphs.libraries.graph_libraries import batch, build, take_apart, unbatch
from mml_graphs.testing import assert_same_edges, assert_same_graph, crystals, graphs_alike
from torch_geometric.data import Batch, Data

quick = settings(max_examples=60)


@given(graphs=graphs_alike())
@quick
def test_both_ways_nothing_is_lost(dgl, graphs):
    as_pyg, as_dgl = build("pyg", graphs[0]), build("dgl", graphs[0])
    assert_same_graph(pyg_to_dgl(as_pyg), as_dgl)
    assert_same_graph(dgl_to_pyg(as_dgl), as_pyg)
    assert_same_graph(dgl_to_pyg(pyg_to_dgl(as_pyg)), as_pyg)
    assert_same_graph(pyg_to_dgl(dgl_to_pyg(as_dgl)), as_dgl)


@given(graphs=graphs_alike(max_graphs=3))
@quick
def test_a_batch_becomes_a_batch(dgl, graphs):
    as_dgl = pyg_to_dgl(batch([build("pyg", graph) for graph in graphs]))
    assert as_dgl.batch_size == len(graphs)
    for part, graph in zip(unbatch(as_dgl), graphs, strict=True):
        assert_same_graph(part, graph)
    if len(graphs) > 1:
        as_pyg = dgl_to_pyg(as_dgl)
        assert isinstance(as_pyg, Batch)
        for part, graph in zip(as_pyg.to_data_list(), graphs, strict=True):
            assert_same_graph(part, graph)


@given(crystal=crystals())
@quick
def test_edges_to_several_images_stay_separate(dgl, crystal):
    """The older toolkit merged them, and made every edge run both ways."""
    sample = PeriodicPropertiesTransform(5.0, on_isolated="allow")(crystal.sample())
    there = pyg_to_dgl(PointCloudToGraphTransform("pyg")(sample)["graph"])
    assert there.num_edges() == len(sample["src_nodes"])
    src, dst = there.edges()
    edges = {**there.edata, "src_nodes": src, "dst_nodes": dst}
    assert_same_edges(edges, sample)
    assert_same_graph(there, PointCloudToGraphTransform("dgl")(sample)["graph"])


def test_duplicate_and_one_way_edges_are_kept(dgl):
    graph = dgl.graph(([0, 0, 0, 2], [1, 1, 2, 2]), num_nodes=4)
    graph.edata["w"] = torch.tensor([1.0, 2, 3, 4])
    graph.ndata["x"] = torch.arange(4)
    there = dgl_to_pyg(graph)
    assert there.edge_index.tolist() == [[0, 0, 0, 2], [1, 1, 2, 2]]
    assert there.num_nodes == 4
    assert there.w.tolist() == [1, 2, 3, 4]
    back = pyg_to_dgl(there)
    assert back.edata["w"].tolist() == [1, 2, 3, 4]
    assert back.ndata["x"].tolist() == [0, 1, 2, 3]


def test_nodes_and_edges_may_share_a_name(dgl):
    """As all parts of larger graphs do: DGL notes there where nodes and edges come from."""
    graph = dgl.graph(([0, 1], [1, 2])).subgraph([1, 2])
    graph.ndata["feat"], graph.edata["feat"] = torch.rand(2, 3), torch.rand(1, 4)
    there = dgl_to_pyg(graph)
    assert torch.equal(there.feat, graph.ndata["feat"])
    assert torch.equal(there.edge_feat, graph.edata["feat"])
    assert there["_ID"].tolist() == [1, 2]
    assert_same_graph(pyg_to_dgl(there), graph)
    assert_same_graph(unbatch(pyg_to_dgl(batch([there, there])))[1], graph)
    graph.ndata["edge_feat"] = torch.rand(2)
    message = "the graph already has 'edge_feat'. Rename the edge key 'feat'"
    with pytest.raises(ValueError, match=message):
        dgl_to_pyg(graph)


def test_foreign_graphs_keep_attributes(dgl):
    graph = Data(
        x=torch.rand(3, 4),
        edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]),
        edge_attr=torch.rand(3, 2),
        pos=torch.rand(3, 3),
        y=torch.tensor([0.5]),
        cell=torch.eye(3),
        edge_label_index=torch.tensor([[0, 1], [1, 2]]),
        total=torch.tensor(2.0),
        n_electrons=7,
    )
    there = pyg_to_dgl(graph)
    assert there.ndata.keys() == {
        *("x", "pos", "whole.y", "whole.cell", "whole.edge_label_index", "whole.total", "whole.n_electrons")
    }
    assert there.edata.keys() == {"edge_attr"}
    back = dgl_to_pyg(there)
    for name in graph.keys():  # noqa: SIM118
        assert torch.equal(torch.as_tensor(back[name]), torch.as_tensor(graph[name])), name
    assert back.num_nodes == 3


def test_no_edges_and_one_atom(dgl):
    sample = {"atomic_numbers": [2], "pos": [[0.0, 0, 0]]}
    graph = PointCloudToGraphTransform("pyg")(sample)["graph"]
    there = pyg_to_dgl(graph)
    assert (there.num_nodes(), there.num_edges()) == (1, 0)
    assert there.edata["offsets"].shape == (0, 3)
    assert_same_graph(dgl_to_pyg(there), graph)
    assert take_apart(there).whole["cell"].shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"atom_index"},
            "data of a graph cannot have the name 'atom_index': such a name has a special meaning in PyG",
        ),
        ({"batch"}, "data of a graph cannot have the name 'batch'"),
    ],
)
def test_reserved_pyg_names_raise(dgl, names, message):
    graph = dgl.graph(([0], [1]))
    for name in names:
        graph.ndata[name] = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        dgl_to_pyg(graph)


def test_unconvertible_graphs_raise(dgl):
    graph = dgl.graph(([0], [1]))
    with pytest.raises(ValueError, match="graph is of type DGLGraph, expected a graph of 'pyg'"):
        pyg_to_dgl(graph)
    with pytest.raises(ValueError, match="graph is of type NoneType, expected a graph of 'dgl'"):
        dgl_to_pyg(None)
    with pytest.raises(ValueError, match="'smiles' is of type str, but DGL stores only tensors"):
        pyg_to_dgl(Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=1, smiles="C"))
    with pytest.raises(ValueError, match="the number of nodes of the PyG graph is unknown"):
        pyg_to_dgl(Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), y=torch.ones(1)))
