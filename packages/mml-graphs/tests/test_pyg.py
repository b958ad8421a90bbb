import subprocess
import sys

import torch
from mml_graphs import pyg
from mml_graphs.graph_data import GraphData


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
    assert (again.src.tolist(), again.dst.tolist(), again.n_nodes) == ([0], [1], 2)
    assert pyg.batch([graph, graph]).ptr.tolist() == [0, 2, 4]
    assert not pyg.is_graph({"pos": None})


def test_costly_and_optional_libraries_are_imported_on_first_use_only():
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
