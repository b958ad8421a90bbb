import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.testing import crystals


@pytest.fixture(scope="session")
def edge_vectors():
    """Give a function from the graph of a sample to its edge vectors, at the positions under a key."""

    def compute(sample, key="pos", graph="graph"):
        data = take_apart(sample[graph])
        return data.nodes[key][data.dst] + data.edges["offsets"] - data.nodes[key][data.src]

    return compute


@pytest.fixture(scope="session")
def slabs():
    """Give a function from a graph library to samples of tagged atoms with forces, and a graph."""

    @st.composite
    def draw_slab(draw, library):
        crystal = draw(crystals(max_atoms=6, min_length=3.0))
        num_atoms = len(crystal.positions)
        tags = torch.tensor(
            [0, *draw(st.lists(st.integers(0, 2), min_size=num_atoms - 1, max_size=num_atoms - 1))]
        )
        tags = tags[draw(st.permutations(range(num_atoms)))]
        numbers = draw(st.lists(st.sampled_from([1, 8, 29]), min_size=num_atoms, max_size=num_atoms))
        sample = crystal.sample(
            tags=tags,
            fixed=(tags == 0).long(),
            names=[f"atom {i}" for i in range(num_atoms)],
            targets={"force": torch.arange(3.0 * num_atoms).reshape(num_atoms, 3), "energy": -1.5},
            natoms=num_atoms,
            sample_id="slab",
        )
        sample |= {"atomic_numbers": np.array(numbers), "pos": crystal.positions}
        sample = PeriodicPropertiesTransform(4.0, on_isolated="allow")(sample)
        to_graph = PointCloudToGraphTransform(library, node_keys=["tags", "fixed", "force"])
        return to_graph(sample)

    return draw_slab


@pytest.fixture(scope="session")
def consistent():
    """Give a function that checks that a sample, its targets and its graph hold the same rows."""

    def check(sample):
        data = take_apart(sample["graph"])
        for key, value in {**data.nodes, **data.edges, **sample["targets"]}.items():
            for holder in (sample, sample["targets"]):
                if isinstance(value, torch.Tensor) and key in holder:
                    assert torch.equal(holder[key], value), key
        assert torch.equal(sample["src_nodes"], data.src)
        assert torch.equal(sample["dst_nodes"], data.dst)
        assert len(sample["unit_offsets"]) == data.num_edges
        assert int(sample["natoms"]) == data.num_nodes == int(data.whole["natoms"])
        vectors = data.nodes["pos"][data.dst] + data.edges["offsets"] - data.nodes["pos"][data.src]
        torch.testing.assert_close(vectors.norm(dim=1), data.edges["distances"], atol=1e-4, rtol=1e-5)
        offsets = data.edges["images"] @ data.whole["cell"].reshape(3, 3)
        torch.testing.assert_close(offsets, data.edges["offsets"], atol=1e-4, rtol=1e-5)
        pbc = data.whole["pbc"].reshape(3)
        assert not data.edges["images"][:, ~pbc].any()

    return check
