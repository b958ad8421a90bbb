import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from mml_graphs.libraries import graph_libraries
from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.testing import assert_same_graph, graphs_alike
from torch_geometric.data import Batch, Data, HeteroData

quick = settings(max_examples=60)


def pair(**whole):
    src, dst = torch.tensor([0, 1]), torch.tensor([1, 0])
    return GraphData({"pos": torch.zeros(2, 3)}, {"distances": torch.ones(2)}, src, dst, whole, 2)


@given(graphs=graphs_alike())
@quick
def test_built_graphs_are_taken_apart(library, graphs):
    graph = graph_libraries.build(library, graphs[0])
    assert graph_libraries.library_of(graph) == library
    assert graph_libraries.count_nodes(graph) == graphs[0].num_nodes
    assert not graph_libraries.is_batch(graph)
    assert_same_graph(graph, graphs[0])
    assert_same_graph(pickle.loads(pickle.dumps(graph)), graphs[0])
    assert_same_graph(copy.copy(graph), graphs[0])
    assert_same_graph(copy.deepcopy(graph).to("cpu"), graphs[0])


@given(graphs=graphs_alike(max_graphs=3))
@quick
def test_batches_are_unbatched(library, graphs):
    batch = graph_libraries.batch([graph_libraries.build(library, graph) for graph in graphs])
    assert graph_libraries.count_nodes(batch) == sum(graph.num_nodes for graph in graphs)
    parts = graph_libraries.unbatch(pickle.loads(pickle.dumps(batch)).to("cpu"))
    assert len(parts) == len(graphs)
    for part, graph in zip(parts, graphs, strict=True):
        assert_same_graph(part, graph)


def test_batches_are_not_taken_apart(library):
    graph = graph_libraries.build(library, pair())
    batch = graph_libraries.batch([graph, graph])
    assert graph_libraries.library_of(batch) == library
    assert graph_libraries.is_batch(batch)
    with pytest.raises(ValueError, match="'graph' is a batch of graphs, expected a single graph"):
        graph_libraries.take_apart(batch)
    with pytest.raises(ValueError, match="b has a batch of graphs, expected a single graph"):
        graph_libraries.batch([graph, batch], ["a", "b"])


def test_different_keys_raise(library):
    one = graph_libraries.build(library, pair(y=torch.ones(1)))
    for other in (pair(), pair(y=torch.ones(1), z=torch.ones(1))):
        for order in (
            [one, graph_libraries.build(library, other)],
            [graph_libraries.build(library, other), one],
        ):
            with pytest.raises(ValueError, match=r"graph \d has '.*[yz].*', but graph \d does not"):
                graph_libraries.batch(order)
    other = pair(y=torch.ones(1))._replace(nodes={"pos": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="the graphs cannot be batched"):
        graph_libraries.batch([one, graph_libraries.build(library, other)])


def test_mixed_libraries_raise(dgl):
    graphs = [graph_libraries.build(library, pair()) for library in ("pyg", "dgl")]
    with pytest.raises(ValueError, match="graph 0 has a Data, but graph 1 has a DGLGraph"):
        graph_libraries.batch(graphs)


@pytest.mark.parametrize("graph", [None, {}, "graph", HeteroData()])
def test_other_objects_raise(graph):
    assert graph_libraries.library_of(graph) is None
    assert graph_libraries.count_nodes(graph) is None
    for act in (graph_libraries.take_apart, graph_libraries.is_batch):
        with pytest.raises(ValueError, match="expected a PyG Data or a DGLGraph"):
            act(graph)
    with pytest.raises(ValueError, match="graphs must contain at least one graph"):
        graph_libraries.batch([])
    with pytest.raises(ValueError, match="backend must be one of 'pyg', 'dgl', got 'jraph'"):
        graph_libraries.check_library("jraph")


@pytest.mark.parametrize(
    "graph", [Data(pos=torch.zeros(2, 3)), Batch.from_data_list([Data(x=torch.ones(1, 1))])]
)
def test_pyg_graphs_without_edges_raise(graph):
    with pytest.raises(ValueError, match=r"no 'edge_index'|is a batch"):
        graph_libraries.take_apart(graph)
