import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.transforms._rewiring import Rewiring, graph_of, rewired_sample, tags_of

SAMPLE = {"atomic_numbers": [8, 1], "pos": torch.eye(3)[:2], "tags": torch.tensor([0, 1])}


@given(data=st.data())
@settings(max_examples=20)
def test_rows_of_sample_and_graph_stay_equal(library, slabs, consistent, data):
    sample = data.draw(slabs(library))
    parts = graph_of(sample)
    order = torch.randperm(parts.num_nodes)
    rank = order.argsort()
    same_edges = torch.arange(parts.num_edges)
    rewiring = Rewiring(
        nodes=lambda _, rows: rows[order],
        edges=lambda _, rows: rows[same_edges],
        src=rank[parts.src],
        dst=rank[parts.dst],
        num_atoms=parts.num_nodes,
    )
    result = rewired_sample(sample, parts, rewiring)
    consistent(result)
    assert torch.equal(result["tags"], sample["tags"][order])


def test_tags_are_read_from_the_graph_first():
    sample = PointCloudToGraphTransform(node_keys=["tags"])(SAMPLE)
    other = {**sample, "tags": torch.tensor([2, 2])}
    assert tags_of(other, graph_of(other)).tolist() == [0, 1]
    plain = PointCloudToGraphTransform()(SAMPLE)
    assert tags_of(plain, graph_of(plain)).tolist() == [0, 1]
    assert tags_of({}, graph_of(plain)) is None


def test_wrong_number_of_tags_raises():
    sample = PointCloudToGraphTransform()(SAMPLE) | {"tags": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"'tags' has shape \[3\], expected \[2\]"):
        tags_of(sample, graph_of(sample))


def test_missing_graph_raises():
    with pytest.raises(ValueError, match="'graph' is missing"):
        graph_of(SAMPLE)
