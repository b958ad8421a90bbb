import subprocess
import sys

import pytest
import torch
from mml_graphs.libraries import pyg
from mml_graphs.libraries.graph_data import GraphData
from torch_geometric.data import Data


def parts(**whole):
    src, dst = torch.tensor([0]), torch.tensor([1])
    return GraphData({"pos": torch.zeros(2, 3)}, {"distances": torch.ones(1)}, src, dst, whole, 2)


def test_build_and_take_apart():
    data = parts(pbc=torch.ones(1, 3), natoms=torch.tensor([2]))
    graph = pyg.build(data)
    assert pyg.is_graph(graph)
    assert graph.num_nodes == 2
    assert set(graph.keys()) == {"pos", "distances", "edge_index", "pbc", "natoms", "num_nodes"}
    again = pyg.take_apart(graph)
    assert (again.nodes, again.edges, again.whole) == (data.nodes, data.edges, data.whole)
    assert (again.src.tolist(), again.dst.tolist(), again.num_nodes) == ([0], [1], 2)
    assert pyg.batch([graph, graph]).ptr.tolist() == [0, 2, 4]
    assert not pyg.is_graph({"pos": None})


def test_built_graph_equals_manual_graph():
    data = parts(cell=torch.eye(3)[None], y=torch.ones(1))
    built = pyg.build(data)
    by_hand = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2, **data.nodes, **data.edges, **data.whole)
    assert set(built.keys()) - {"mml_kinds"} == set(by_hand.keys())
    for key in by_hand.keys():  # noqa: SIM118
        assert torch.equal(torch.as_tensor(built[key]), torch.as_tensor(by_hand[key])), key
    assert built.validate(raise_on_error=True)
    built.pos = built.pos + 1
    built.new = torch.zeros(2)
    del built.y
    again = pyg.take_apart(built.clone())
    assert again.nodes["pos"].tolist() == [[1.0] * 3] * 2
    assert again.nodes.keys() == {"pos", "new"}
    assert again.whole.keys() == {"cell"}
    assert built.subgraph(torch.tensor([0])).distances.shape == (0,)


@pytest.mark.parametrize("name", ["atom_index", "batch", "ptr", "num_nodes", "face", "mml_kinds"])
def test_reserved_names_raise(name):
    data = parts()
    with pytest.raises(
        ValueError,
        match=f"data of a graph cannot have the name '{name}': such a name has a special meaning in PyG",
    ):
        pyg.build(data._replace(nodes={name: torch.zeros(2)}))


def test_optional_libraries_are_imported_lazily():
    unwanted = [
        "ase",
        "dgl",
        "hypothesis",
        "matplotlib",
        "pymatgen",
        "pytorch_lightning",
        "torch_geometric",
        "vesin",
    ]
    code = f"import sys, mml_graphs, mml_graphs.testing; print([m for m in {unwanted} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_joined_batch_equals_batch_of_graphs():
    two = parts(natoms=torch.tensor([2]))
    expected = pyg.batch([pyg.build(two), pyg.build(two)])
    joined = GraphData(
        {"pos": torch.zeros(4, 3)},
        {"distances": torch.ones(2)},
        torch.tensor([0, 2]),
        torch.tensor([1, 3]),
        {"natoms": torch.tensor([2, 2])},
        4,
    )
    batch = pyg.build_batch(joined, torch.stack([joined.src, joined.dst]), [2, 2], [1, 1])
    assert type(batch) is type(expected)
    assert set(batch.keys()) == set(expected.keys())
    for key in expected.keys():  # noqa: SIM118
        assert torch.equal(torch.as_tensor(batch[key]), torch.as_tensor(expected[key])), key
    assert torch.equal(batch.get_example(1).edge_index, pyg.build(two).edge_index)
