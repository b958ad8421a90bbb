import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.transforms import GraphReordering

quick = settings(max_examples=40)
CHAIN = {
    "atomic_numbers": [6] * 6,
    "pos": [[0.0, 0, 0], [3, 0, 0], [1, 0, 0], [4, 0, 0], [2, 0, 0], [5, 0, 0]],
    "sample_id": "chain",
}


@given(data=st.data(), edge_algo=st.sampled_from(["src", "dst", "custom"]))
@pytest.mark.parametrize("node_algo", [None, "rcmk", "custom"])
@quick
def test_inverse_permutation_restores_graph(library, slabs, consistent, node_algo, edge_algo, data):
    sample = data.draw(slabs(library))
    before = take_apart(sample["graph"])
    options = {"node_algo": node_algo, "edge_algo": edge_algo}
    if node_algo == "custom":
        options["nodes_perm"] = data.draw(st.permutations(range(before.num_nodes)))
    if edge_algo == "custom":
        options["edges_perm"] = data.draw(st.permutations(range(before.num_edges)))
    result = GraphReordering(**options)(sample)
    after = take_apart(result["graph"])
    consistent(result)
    nodes, edges = after.nodes["node_order"], after.edges["edge_order"]
    assert sorted(nodes.tolist()) == list(range(before.num_nodes))
    assert sorted(edges.tolist()) == list(range(before.num_edges))
    if "nodes_perm" in options:
        assert nodes.tolist() == options["nodes_perm"]
    if edge_algo != "custom":
        ends = after.src if edge_algo == "src" else after.dst
        assert torch.equal(ends, ends.sort().values)

    back = GraphReordering(
        "custom", "custom", nodes_perm=nodes.argsort().tolist(), edges_perm=edges.argsort().tolist()
    )(result)
    again = take_apart(back["graph"])
    assert torch.equal(again.src, before.src)
    assert torch.equal(again.dst, before.dst)
    for key, value in {**before.nodes, **before.edges}.items():
        assert torch.equal({**again.nodes, **again.edges}[key], value), key
    for key in ("pos", "offsets", "unit_offsets", "src_nodes"):
        assert torch.equal(back[key], sample[key]), key
    assert torch.equal(back["targets"]["force"], sample["targets"]["force"])


def test_rcmk_reduces_bandwidth(library):
    sample = PointCloudToGraphTransform(library, cutoff_dist=1.1)(CHAIN)
    data = take_apart(GraphReordering("rcmk")(sample)["graph"])
    assert (data.src - data.dst).abs().max() == 1
    assert (take_apart(sample["graph"]).src - take_apart(sample["graph"]).dst).abs().max() == 3


def test_tied_edges_keep_order(library):
    data = take_apart(GraphReordering(edge_algo="dst")(PointCloudToGraphTransform(library)(CHAIN))["graph"])
    keys = list(zip(data.dst.tolist(), data.edges["edge_order"].tolist(), strict=True))
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"node_algo": "metis"}, "node_algo 'metis' is not supported"),
        ({"node_algo": "random"}, "node_algo must be one of None, 'rcmk', 'custom', got 'random'"),
        ({"edge_algo": None}, "edge_algo must be one of 'src', 'dst', 'custom', got None"),
        ({"node_algo": "custom"}, "nodes_perm and the algorithm 'custom' require each other"),
        ({"edges_perm": [1, 0]}, "edges_perm and the algorithm 'custom' require each other"),
    ],
)
def test_bad_arguments_raise(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GraphReordering(**options)


@pytest.mark.parametrize("order", [[0, 1], [0, 0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6]])
def test_bad_samples_raise(library, order):
    sample = PointCloudToGraphTransform(library)(CHAIN)
    with pytest.raises(ValueError, match=r"^sample 'chain': nodes_perm must be a permutation of the 6 rows"):
        GraphReordering("custom", nodes_perm=order)(sample)
