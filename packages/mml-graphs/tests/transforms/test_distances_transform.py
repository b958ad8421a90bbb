import re

import numpy as np
import pytest
import torch
from ase.data import atomic_masses as ase_masses
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import build, take_apart
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.testing import crystals
from mml_graphs.transforms import DistancesTransform

quick = settings(max_examples=30)


@given(crystal=crystals(), data=st.data())
@quick
def test_lengths_use_images(library, crystal, data):
    num_atoms = len(crystal.positions)
    numbers = np.array(data.draw(st.lists(st.integers(1, 42), min_size=num_atoms, max_size=num_atoms)))
    sample = crystal.sample() | {"atomic_numbers": numbers}
    sample = PeriodicPropertiesTransform(4.0, on_isolated="allow")(sample)
    with_graph = PointCloudToGraphTransform(library)(sample)
    edges = take_apart(DistancesTransform()(with_graph)["graph"]).edges
    src, dst = sample["src_nodes"].numpy(), sample["dst_nodes"].numpy()
    ends = crystal.positions[dst] + sample["images"].numpy() @ crystal.cell
    lengths = np.linalg.norm(ends - crystal.positions[src], axis=1)
    masses = ase_masses[numbers]
    reduced = masses[src] * masses[dst] / (masses[src] + masses[dst])
    assert edges["r"].shape == (len(src), 1)
    np.testing.assert_allclose(edges["r"][:, 0], lengths, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(edges["distances"], lengths, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(edges["mu"], reduced, rtol=1e-3)
    alone = DistancesTransform()(sample)
    for key in ("r", "mu", "distances"):
        torch.testing.assert_close(alone[key], edges[key])
    assert "r" not in sample
    assert "r" not in take_apart(with_graph["graph"]).edges


def test_lengths_follow_moved_positions(library):
    sample = {"atomic_numbers": [3], "pos": torch.zeros(1, 3), "cell": torch.eye(3)[None] * 3}
    sample = PointCloudToGraphTransform(library)(PeriodicPropertiesTransform(3.1)(sample))
    data = take_apart(sample["graph"])
    edges = {"images": data.edges["images"], "distances": torch.zeros(6)}
    graph = build(library, data._replace(edges=edges))
    result = take_apart(DistancesTransform()({"graph": graph})["graph"]).edges
    torch.testing.assert_close(result["distances"], torch.full((6,), 3.0))

    no_images = build(library, data._replace(edges={}))
    with pytest.raises(
        ValueError,
        match=r"^the sample: 'offsets' and 'images' of the edges are missing, and the graph is periodic",
    ):
        DistancesTransform()({"graph": no_images})
    whole = {key: value for key, value in data.whole.items() if key not in ("cell", "pbc")}
    result = take_apart(
        DistancesTransform()({"graph": build(library, data._replace(edges={}, whole=whole))})["graph"]
    )
    assert not result.edges["r"].any()


def test_super_nodes_are_infinitely_heavy(library):
    sample = {
        "atomic_numbers": torch.tensor([1, 8]),
        "pos": torch.tensor([[0.0, 0, 0], [0, 0, 1]]),
        "tags": torch.tensor([1, 2]),
    }
    sample = PointCloudToGraphTransform(library, node_keys=["tags"])(sample)
    data = take_apart(sample["graph"])
    nodes = data.nodes | {"atomic_numbers": torch.tensor([1, 200]), "tags": torch.tensor([1, 3])}
    graph = build(library, data._replace(nodes=nodes))
    mu = take_apart(DistancesTransform()({"graph": graph})["graph"]).edges["mu"]
    torch.testing.assert_close(mu, torch.full((2,), 1.008), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"pos": [[0, 0, 0]]}, "edges are missing, expected a 'graph' or 'src_nodes' and 'dst_nodes'. Apply"),
        ({"graph": torch.ones(3)}, "'graph' is of type Tensor"),
        (
            {
                "pos": [[0, 0, 0]],
                "atomic_numbers": [1],
                "cell": np.eye(3),
                "src_nodes": torch.zeros(1, dtype=torch.int64),
                "dst_nodes": torch.zeros(1, dtype=torch.int64),
            },
            "'images' of the edges are missing, and the sample is periodic",
        ),
    ],
)
def test_bad_samples_raise(sample, message):
    with pytest.raises(ValueError, match="^sample 'x': .*" + re.escape(message)):
        DistancesTransform()(sample | {"sample_id": "x"})
