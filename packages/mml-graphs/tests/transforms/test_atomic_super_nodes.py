import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.batches.collate import collate_samples
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.transforms import AtomicSuperNodes, GraphSuperNodes, RemoveTagZeroNodes

quick = settings(max_examples=40)


@given(data=st.data(), first=st.booleans())
@quick
def test_each_subsurface_element_gets_a_node(library, slabs, consistent, first, data):
    sample = data.draw(slabs(library))
    if first:
        sample = GraphSuperNodes(100)(sample)
    before = take_apart(sample["graph"])
    result = AtomicSuperNodes(100)(sample)
    after = take_apart(result["graph"])
    consistent(result)
    tags, numbers = before.nodes["tags"].tolist(), before.nodes["atomic_numbers"].tolist()
    edges = set(zip(before.src.tolist(), before.dst.tolist(), strict=True))
    elements = sorted({number for number, tag in zip(numbers, tags, strict=True) if tag == 0})
    assert after.num_nodes == before.num_nodes + len(elements)
    assert torch.equal(after.src[: before.num_edges], before.src)
    assert torch.equal(after.dst[: before.num_edges], before.dst)
    expected = set()
    for place, element in enumerate(elements):
        node = before.num_nodes + place
        members = [i for i in range(before.num_nodes) if tags[i] == 0 and numbers[i] == element]
        assert int(after.nodes["atomic_numbers"][node]) == 100 + element + first
        assert int(after.nodes["tags"][node]) == 4
        assert int(after.nodes["fixed"][node]) == 1
        torch.testing.assert_close(after.nodes["pos"][node], before.nodes["pos"][members].mean(dim=0))
        near = {
            j for i in members for j in range(before.num_nodes) if {(i, j), (j, i)} & edges and tags[j] < 3
        }
        expected |= {(node, j) for j in near} | {(j, node) for j in near}
    new = list(zip(after.src.tolist(), after.dst.tolist(), strict=True))[before.num_edges :]
    assert len(new) == len(expected)
    assert set(new) == expected
    assert len(collate_samples([result, result])["targets"]["force"]) == 2 * after.num_nodes


def test_the_whole_rewiring(library):
    slab = {
        "atomic_numbers": torch.tensor([29, 30, 29, 8]),
        "pos": torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 2], [0, 0, 3.5]]),
        "tags": torch.tensor([0, 0, 1, 2]),
    }
    sample = PointCloudToGraphTransform(library, cutoff_dist=2.2, node_keys=["tags"])(slab)
    result = RemoveTagZeroNodes()(AtomicSuperNodes(100)(GraphSuperNodes(100)(sample)))
    data = take_apart(result["graph"])
    assert data.nodes["tags"].tolist() == [1, 2, 3, 4, 4]
    assert data.nodes["atomic_numbers"].tolist() == [29, 8, 100, 130, 131]
    pairs = set(zip(data.src.tolist(), data.dst.tolist(), strict=True))
    assert pairs == {(0, 1), (1, 0), (2, 0), (2, 1), (0, 2), (1, 2), (3, 0), (0, 3)}
    assert AtomicSuperNodes(100).super_atom_embedding(99, False) == 199


def test_bad_input_raises(library):
    with pytest.raises(ValueError, match="atom_max_embedding must be a positive integer, got 0"):
        AtomicSuperNodes(0)
    slab = {"atomic_numbers": [8, 1], "pos": [[0.0, 0, 0], [1, 0, 0]], "tags": [0, 1], "sample_id": 3}
    once = AtomicSuperNodes(100)(PointCloudToGraphTransform(library, node_keys=["tags"])(slab))
    with pytest.raises(
        ValueError, match=r"^sample 3: 'tags' already contains 4, the tag of atomic super nodes"
    ):
        AtomicSuperNodes(100)(once)
