import subprocess
import sys

import torch
from mml_graphs import pyg


def test_build_and_take_apart():
    tensors = {
        "pos": torch.zeros(2, 3),
        "edge_index": torch.tensor([[0], [1]]),
        "pbc": torch.ones(1, 3),
        "natoms": torch.tensor([2]),
    }
    graph = pyg.build(tensors)
    assert pyg.is_graph(graph)
    assert graph.num_nodes == 2
    parts = pyg.take_apart(graph)
    assert parts.keys() == {"pos", "src_nodes", "dst_nodes", "pbc"}
    assert (parts["src_nodes"].tolist(), parts["dst_nodes"].tolist()) == ([0], [1])
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
