import pytest
import torch
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.transforms._rewiring import graph_with_tags
from mml_graphs.transforms._super_nodes import SuperNode, with_super_nodes

SLAB = {
    "atomic_numbers": [29, 29, 8],
    "pos": torch.tensor([[0.0, 0, 0], [2.0, 0, 0], [0.0, 0, 9.5]]),
    "cell": torch.eye(3) * 10,
    "tags": torch.tensor([0, 0, 2]),
}


def test_super_node_averages_its_members():
    sample = PeriodicPropertiesTransform(3.0)(SLAB)
    sample = PointCloudToGraphTransform(node_keys=["tags"])(sample)
    data, tags = graph_with_tags(sample)
    node = SuperNode(3, 105, members=torch.tensor([0, 1]), neighbors=torch.tensor([2]))
    result = with_super_nodes(sample, data, tags, [node])
    graph = take_apart(result["graph"])
    assert graph.num_nodes == 4
    assert graph.nodes["tags"].tolist() == [0, 0, 2, 3]
    assert graph.nodes["atomic_numbers"].tolist() == [29, 29, 8, 105]
    assert graph.nodes["pos"][3].tolist() == [1.0, 0, 0]
    assert graph.num_edges == data.num_edges + 2
    new = graph.src == 3
    assert graph.dst[new].tolist() == [2]
    assert graph.edges["images"][new].tolist() == [[0.0, 0.0, -1.0]]
    assert graph.edges["distances"][new].item() == pytest.approx((1 + 0.25) ** 0.5)
