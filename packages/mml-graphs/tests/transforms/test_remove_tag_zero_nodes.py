import copy
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.batches.collate import collate_samples
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.transforms import RemoveTagZeroNodes

quick = settings(max_examples=40)
SLAB = {
    "atomic_numbers": torch.tensor([29, 29, 8]),
    "pos": torch.tensor([[0.0, 0, 0], [0, 0, 2], [0, 0, 4]]),
    "tags": torch.tensor([0, 1, 2]),
    "sample_id": "slab",
}


@given(data=st.data())
@quick
def test_other_atoms_and_edges_stay(library, slabs, consistent, data):
    sample = data.draw(slabs(library).filter(lambda sample: (sample["tags"] != 0).any()))
    before = take_apart(copy.deepcopy(sample["graph"]))
    result = RemoveTagZeroNodes()(sample)
    after = take_apart(result["graph"])
    stay = [atom for atom, tag in enumerate(before.nodes["tags"].tolist()) if tag != 0]
    rows = [
        edge
        for edge, (i, j) in enumerate(zip(before.src.tolist(), before.dst.tolist(), strict=True))
        if i in stay and j in stay
    ]
    assert after.num_nodes == len(stay)
    assert [stay[i] for i in after.src.tolist()] == before.src[rows].tolist()
    assert [stay[i] for i in after.dst.tolist()] == before.dst[rows].tolist()
    for key, value in before.nodes.items():
        assert torch.equal(after.nodes[key], value[stay]), key
    for key, value in before.edges.items():
        assert torch.equal(after.edges[key], value[rows]), key
    consistent(result)
    assert len(result["targets"]["force"]) == len(stay)
    assert result["targets"]["energy"] == -1.5
    assert collate_samples([result, result])["targets"]["force"].shape == (2 * len(stay), 3)
    # What was given is as before.
    again = take_apart(sample["graph"])
    for key, value in {**before.nodes, **before.edges}.items():
        assert torch.equal({**again.nodes, **again.edges}[key], value), key
    assert len(sample["targets"]["force"]) == before.num_nodes


def test_subgraph_is_stored_beside_graph(library):
    sample = PointCloudToGraphTransform(library, node_keys=["tags"])(SLAB)
    result = RemoveTagZeroNodes(overwrite=False)(sample)
    assert result["graph"] is sample["graph"]
    assert take_apart(result["subgraph"]).nodes["tags"].tolist() == [1, 2]
    assert result["pos"] is sample["pos"]
    assert RemoveTagZeroNodes()(sample)["tags"].tolist() == [1, 2]
    assert "subgraph" not in RemoveTagZeroNodes()(sample)


def test_tags_are_read_from_sample(library):
    result = RemoveTagZeroNodes()(PointCloudToGraphTransform(library)(SLAB))
    assert take_apart(result["graph"]).nodes["atomic_numbers"].tolist() == [29, 8]
    assert result["tags"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([1, 1, 2], "'tags' must contain 0, the tag of atoms below the surface, got [1, 2]"),
        ([0, 0, 0], "all atoms have tag 0, expected at least one other tag"),
        ([0, 1], "'tags' has shape [2], expected [3]"),
        (None, "'tags' [N] of the graph is missing"),
    ],
)
def test_bad_tags_raise(library, tags, message):
    sample = PointCloudToGraphTransform(library)({k: v for k, v in SLAB.items() if k != "tags"})
    if tags is not None:
        sample["tags"] = tags
    with pytest.raises(ValueError, match="^sample 'slab': " + re.escape(message)):
        RemoveTagZeroNodes()(sample)


def test_bad_samples_raise(library):
    with pytest.raises(
        ValueError, match=r"^sample 'slab': 'graph' is missing. Apply PointCloudToGraphTransform"
    ):
        RemoveTagZeroNodes()(SLAB)
    sample = PointCloudToGraphTransform(library, node_keys=["tags"])(SLAB)
    sample["fixed"] = torch.zeros(7)
    with pytest.raises(ValueError, match=r"^sample 'slab': 'fixed' has shape \[7\] in the sample, expected"):
        RemoveTagZeroNodes()(sample)
