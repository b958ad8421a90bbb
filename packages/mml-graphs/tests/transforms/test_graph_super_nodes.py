import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.testing import brute_force_edges
from mml_graphs.transforms import DistancesTransform, GraphSuperNodes, RemoveTagZeroNodes

quick = settings(max_examples=40)
SLAB = {
    "atomic_numbers": torch.tensor([29, 29, 8]),
    "pos": torch.tensor([[0.0, 0, 0], [0, 0, 2], [0, 0, 4]]),
    "tags": torch.tensor([0, 0, 2]),
    "sample_id": "slab",
}


@given(data=st.data())
@quick
def test_one_node_is_added(library, slabs, consistent, data):
    sample = data.draw(slabs(library))
    before = take_apart(sample["graph"])
    num_atoms, num_edges = before.num_nodes, before.num_edges
    result = GraphSuperNodes(100)(DistancesTransform()(sample))
    after = take_apart(result["graph"])
    consistent(result)
    assert after.num_nodes == num_atoms + 1
    assert after.num_edges == num_edges + 2 * num_atoms
    assert torch.equal(after.src[:num_edges], before.src)
    assert torch.equal(after.dst[:num_edges], before.dst)
    for key, value in before.edges.items():
        assert torch.equal(after.edges[key][:num_edges], value), key
    for key, value in before.nodes.items():
        assert torch.equal(after.nodes[key][:num_atoms], value), key
    last = {key: value[-1] for key, value in after.nodes.items()}
    assert (int(last["tags"]), int(last["atomic_numbers"]), int(last["fixed"])) == (3, 100, 1)
    below = before.nodes["tags"] == 0
    torch.testing.assert_close(last["pos"], before.nodes["pos"][below].mean(dim=0))
    torch.testing.assert_close(last["force"], before.nodes["force"][below].mean(dim=0))

    # The new edges: to every atom and back, to the nearest image.
    out, back = (slice(num_edges, num_edges + num_atoms), slice(num_edges + num_atoms, None))
    assert after.src[out].eq(num_atoms).all()
    assert after.dst[back].eq(num_atoms).all()
    assert after.dst[out].tolist() == after.src[back].tolist() == list(range(num_atoms))
    assert torch.equal(after.edges["images"][out], -after.edges["images"][back])
    cell, pbc = after.whole["cell"].reshape(3, 3).double().numpy(), after.whole["pbc"].reshape(3).tolist()
    for atom, distance in enumerate(after.edges["distances"][out].tolist()):
        ends = np.stack([last["pos"].double().numpy(), before.nodes["pos"][atom].double().numpy()])
        reach = np.linalg.norm(ends[1] - ends[0]) + 1e-6
        edges = brute_force_edges(ends, cell, pbc, reach)
        nearest = edges.distances[(edges.src == 0) & (edges.dst == 1)].min()
        np.testing.assert_allclose(distance, nearest, atol=1e-4)
    vectors = result["unit_offsets"][num_edges:] @ after.whole["cell"].reshape(3, 3)
    torch.testing.assert_close(
        vectors.norm(dim=1), after.edges["distances"][num_edges:], atol=1e-3, rtol=1e-4
    )
    torch.testing.assert_close(after.edges["r"][:, 0], after.edges["distances"])
    masses = {1: 1.008, 8: 15.999, 29: 63.546}
    expected = [masses[number] for number in before.nodes["atomic_numbers"].tolist()]
    np.testing.assert_allclose(after.edges["mu"][out], expected, rtol=1e-3)
    # Distances can be computed again: a super node needs no mass.
    again = take_apart(DistancesTransform()(result)["graph"]).edges
    for key in ("r", "mu"):
        torch.testing.assert_close(again[key], after.edges[key], atol=1e-4, rtol=1e-4)


def test_node_outlives_its_atoms(library):
    sample = PointCloudToGraphTransform(library, node_keys=["tags"])(SLAB)
    result = RemoveTagZeroNodes()(GraphSuperNodes(100)(sample))
    data = take_apart(result["graph"])
    assert data.nodes["atomic_numbers"].tolist() == [8, 100]
    assert sorted(zip(data.src.tolist(), data.dst.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert data.edges["distances"].tolist() == [3, 3]


@pytest.mark.parametrize("index", [0, -1, 2.0, True, "100"])
def test_bad_arguments_raise(index):
    with pytest.raises(ValueError, match=f"atom_max_embed_index must be a positive integer, got {index!r}"):
        GraphSuperNodes(index)


@pytest.mark.parametrize(
    ("extra", "keys", "message"),
    [
        ({"tags": torch.tensor([1, 1, 2])}, {}, "'tags' must contain 0, the tag of atoms below the surface"),
        ({"tags": torch.tensor([0, 1, 3])}, {}, "'tags' already contains 3 or 4, the tags of super nodes"),
        (
            {"site": torch.tensor([1, 2, 3])},
            {"node_keys": ["tags", "site"]},
            "'site' has dtype torch.int64, expected floats",
        ),
        (
            {"bond": torch.ones(6)},
            {"edge_keys": ["bond"]},
            "edge key 'bond' is undefined for the edges of super nodes",
        ),
    ],
)
def test_bad_samples_raise(library, extra, keys, message):
    sample = PointCloudToGraphTransform(library, **{"node_keys": ["tags"], **keys})(SLAB | extra)
    with pytest.raises(ValueError, match="^sample 'slab': " + re.escape(message)):
        GraphSuperNodes(100)(sample)
