import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from mml_graphs.graph import GraphToPointCloudTransform, PointCloudToGraphTransform
from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.libraries.graph_libraries import batch, build, count_nodes, take_apart, unbatch
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.testing import assert_same_edges, assert_same_graph, brute_force_edges, crystals

quick = settings(max_examples=25)
PERIODIC = PeriodicPropertiesTransform(4.0, on_isolated="allow")
MOLECULE = {
    "atomic_numbers": [8, 1, 1],
    "pos": [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]],
    "sample_id": "water",
}


def labeled(crystal):
    num_atoms = len(crystal.positions)
    force = torch.arange(3.0 * num_atoms).reshape(num_atoms, 3)
    return crystal.sample(
        sample_id="a", targets={"energy": -1.5, "force": force}, magmom=torch.arange(num_atoms)
    )


@given(crystal=crystals())
@quick
def test_graph_contains_edges(crystal):
    sample = PERIODIC(labeled(crystal))
    before = copy.deepcopy(sample)
    transform = PointCloudToGraphTransform("pyg", node_keys=["force", "magmom"], edge_keys=["unit_offsets"])
    result = transform(sample)
    graph = result["graph"]
    assert graph.validate(raise_on_error=True)
    assert graph.num_nodes == len(crystal.positions)
    assert torch.equal(graph.edge_index, torch.stack([sample["src_nodes"], sample["dst_nodes"]]))
    for key in ("atomic_numbers", "pos", "cell", "offsets", "images", "distances", "unit_offsets", "magmom"):
        assert torch.equal(graph[key], sample[key]), key
    assert torch.equal(graph.force, sample["targets"]["force"])
    assert graph.pbc.tolist() == [list(crystal.pbc)]
    assert graph.natoms.tolist() == [len(crystal.positions)]
    assert sample.keys() == before.keys() == result.keys() - {"graph"}
    vectors = graph.pos[graph.edge_index[1]] + graph.offsets - graph.pos[graph.edge_index[0]]
    torch.testing.assert_close(vectors.norm(dim=1), graph.distances, atol=1e-5, rtol=1e-5)


@given(crystal=crystals())
@quick
def test_both_libraries_store_equal_data(dgl, crystal):
    sample = PERIODIC(labeled(crystal))
    keys = {"node_keys": ["force", "magmom"], "edge_keys": ["unit_offsets"]}
    graph = PointCloudToGraphTransform("dgl", **keys)(sample)["graph"]
    assert isinstance(graph, dgl.DGLGraph)
    assert_same_graph(graph, PointCloudToGraphTransform("pyg", **keys)(sample)["graph"])
    src, dst = graph.edges()
    assert torch.equal(src, sample["src_nodes"])
    assert torch.equal(dst, sample["dst_nodes"])
    for key in ("offsets", "images", "distances", "unit_offsets"):
        assert torch.equal(graph.edata[key], sample[key]), key
    assert torch.equal(graph.ndata["force"], sample["targets"]["force"])
    assert torch.equal(graph.ndata["whole.cell"][0], sample["cell"])


@given(crystal=crystals())
@quick
def test_round_trip_keeps_everything(library, crystal):
    sample = PERIODIC(labeled(crystal))
    to_graph = PointCloudToGraphTransform(library, node_keys=["force", "magmom"], edge_keys=["unit_offsets"])
    there = to_graph(sample)
    back = GraphToPointCloudTransform(library)(there)
    assert back.keys() == sample.keys()
    for key, value in sample.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(back[key], value), key
            assert back[key].dtype == value.dtype, key
    assert torch.equal(back["targets"]["force"], sample["targets"]["force"])
    assert back["targets"]["energy"] == -1.5
    assert_same_graph(to_graph(back)["graph"], there["graph"])


@given(crystal=crystals())
@quick
def test_graph_and_cloud_round_trip(library, crystal):
    keys = {"node_keys": ["magmom"], "edge_keys": ["unit_offsets"]}
    graph = PointCloudToGraphTransform(library, **keys)(PERIODIC(labeled(crystal)))["graph"]
    cloud = GraphToPointCloudTransform(library, full_pairwise=True)({"graph": graph})
    assert_same_graph(PointCloudToGraphTransform(library, **keys)(cloud)["graph"], graph)


def test_foreign_graphs_round_trip(library):
    src, dst = torch.tensor([0, 0, 1]), torch.tensor([1, 1, 1])
    nodes = {"atomic_numbers": torch.tensor([8, 1]), "pos": torch.rand(2, 3), "spin": torch.tensor([1, 0])}
    edges = {"images": torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), "bond_order": torch.arange(3)}
    whole = {"cell": torch.eye(3)[None] * 4, "y": torch.tensor([2.5]), "charge": torch.tensor([[1, 2]])}
    graph = build(library, GraphData(nodes, edges, src, dst, whole, 2))
    cloud = GraphToPointCloudTransform(library)({"graph": graph})
    again = PointCloudToGraphTransform(
        library, node_keys=["spin"], edge_keys=["bond_order"], graph_keys=["y", "charge"]
    )(cloud)["graph"]
    parts = take_apart(again)
    for kept, held in ((parts.nodes, nodes), (parts.edges, edges), (parts.whole, whole)):
        assert all(torch.equal(kept[name], value) for name, value in held.items())
    assert (parts.src.tolist(), parts.dst.tolist()) == (src.tolist(), dst.tolist())


def test_what_belongs_to_the_whole(library):
    sample = {**MOLECULE, "energy": -1.5, "dipole": torch.rand(1, 3), "targets": {"gap": np.float64(2.5)}}
    transform = PointCloudToGraphTransform(library, graph_keys=["energy", "dipole", "gap"])
    graph = transform(sample)["graph"]
    whole = take_apart(unbatch(batch([graph, graph]))[1]).whole
    assert (whole["energy"].tolist(), whole["gap"].tolist()) == ([-1.5], [2.5])
    assert torch.equal(whole["dipole"], sample["dipole"])
    with pytest.raises(ValueError, match="sample 'water': graph key 'spin' is missing"):
        PointCloudToGraphTransform(library, graph_keys=["spin"])(sample)


@given(crystal=crystals())
@quick
def test_edges_are_found_again(library, crystal):
    sample = PERIODIC(labeled(crystal))
    graph = PointCloudToGraphTransform(library, edge_keys=["weight"])(
        {**sample, "weight": torch.rand(len(sample["src_nodes"]))}
    )
    cloud = GraphToPointCloudTransform(library, full_pairwise=False)(graph)
    pairs = {"src_nodes", "dst_nodes", "images", "offsets", "unit_offsets", "distances"}
    assert cloud.keys() == sample.keys() - pairs
    again = PERIODIC(cloud)
    assert again.keys() == sample.keys()
    assert_same_edges(again, sample, atol=1e-5)


def test_graph_values_replace_sample_values():
    graph = PointCloudToGraphTransform(node_keys=["charge"])({**MOLECULE, "charge": [0.0, 1.0, 2.0]})["graph"]
    graph.pos = graph.pos + 1
    graph.foreign = torch.ones(1, 2)
    sample = {"graph": graph, "pos": torch.zeros(3, 3), "targets": {"charge": torch.zeros(3)}}
    cloud = GraphToPointCloudTransform()(sample)
    assert "graph" not in cloud
    assert torch.equal(cloud["pos"], graph.pos)
    assert torch.equal(cloud["targets"]["charge"], torch.tensor([0.0, 1, 2]))
    assert not sample["targets"]["charge"].any()
    assert torch.equal(cloud["foreign"], torch.ones(1, 2))
    assert cloud["pbc"].shape == (3,)


@given(crystal=crystals(pbc=(False, False, False)))
@quick
def test_molecules_get_edges(crystal):
    sample = crystal.sample()
    result = PointCloudToGraphTransform(cutoff_dist=3.0)(sample)
    assert_same_edges(result, brute_force_edges(*crystal, 3.0), atol=1e-5)
    assert result["graph"].num_edges == len(result["src_nodes"])
    assert result["cutoff_radius"] == 3.0


@pytest.mark.parametrize(
    ("num_atoms", "cutoff", "num_edges"), [(1, 7.0, 0), (2, 7.0, 2), (2, 0.1, 0), (3, 7.0, 6)]
)
def test_few_atoms_and_few_edges(library, num_atoms, cutoff, num_edges):
    sample = {key: MOLECULE[key][:num_atoms] for key in ("atomic_numbers", "pos")}
    graph = PointCloudToGraphTransform(library, cutoff_dist=cutoff)(sample)["graph"]
    data = take_apart(graph)
    assert data.num_nodes == num_atoms
    assert (data.src.shape, data.src.dtype) == ((num_edges,), torch.int64)
    assert all(len(value) == num_edges for value in data.edges.values())
    assert count_nodes(batch([graph, graph])) == 2 * num_atoms


def test_periodic_sample_without_edges_raises():
    sample = {"atomic_numbers": [6], "pos": [[0.0, 0, 0]], "cell": torch.eye(3) * 3, "sample_id": "mp/3"}
    message = r"sample 'mp/3': edges .* are missing, and the sample is periodic\. Apply Periodic"
    with pytest.raises(ValueError, match=message):
        PointCloudToGraphTransform()(sample)


def test_transforms_are_pickled_and_pasted():
    for transform in (
        PointCloudToGraphTransform("pyg", 5.0, node_keys=["force"], edge_keys=("unit_offsets",)),
        PointCloudToGraphTransform("dgl"),
        GraphToPointCloudTransform(),
        GraphToPointCloudTransform("dgl", full_pairwise=False),
    ):
        assert repr(eval(repr(transform))) == repr(transform) == repr(pickle.loads(pickle.dumps(transform)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"node_keys": ["spin"]}, "^sample 'water': node key 'spin' is missing"),
        ({"node_keys": ["sample_id"]}, "^sample 'water': node key 'sample_id' is of type str"),
        ({"node_keys": ["three"]}, r"^sample 'water': node key 'three' has shape \[2\], expected 3 rows"),
        ({"edge_keys": ["three"]}, r"^sample 'water': edge key 'three' has shape \[2\], expected 6 rows"),
    ],
)
def test_bad_keys_raise(options, message):
    with pytest.raises(ValueError, match=message):
        PointCloudToGraphTransform(**options)({**MOLECULE, "three": [1, 2]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "networkx"}, "backend must be one of 'pyg', 'dgl', got 'networkx'"),
        ({"cutoff_dist": -1.0}, "cutoff must be positive and finite, in angstrom, got -1.0"),
        (
            {"node_keys": "force"},
            r"node_keys must be a list of keys, got the string 'force'. Pass \['force'\]",
        ),
        (
            {"edge_keys": ["bond_index"]},
            "edge_keys contains 'bond_index', but such a name has a special meaning in PyG",
        ),
        (
            {"backend": "dgl", "node_keys": ["whole.pos"]},
            "node_keys contains 'whole.pos', but names that begin with 'whole.' are reserved",
        ),
    ],
)
def test_bad_arguments_raise(options, message):
    with pytest.raises(ValueError, match=message):
        PointCloudToGraphTransform(**options)


@pytest.mark.parametrize("graph", [None, "a graph"])
def test_missing_graph_raises(graph):
    with pytest.raises(ValueError, match=r"sample 'b': 'graph' is .* expected a PyG Data or a DGLGraph"):
        GraphToPointCloudTransform()({"graph": graph, "sample_id": "b"})
    with pytest.raises(ValueError, match="backend must be one of 'pyg', 'dgl', got 'networkx'"):
        GraphToPointCloudTransform("networkx")


def test_other_library_raises():
    sample = PointCloudToGraphTransform("pyg")(MOLECULE)
    message = "sample 'water': 'graph' is a graph of 'pyg', expected 'dgl'. Pass backend='pyg'"
    with pytest.raises(ValueError, match=message):
        GraphToPointCloudTransform("dgl")(sample)


def test_batched_graph_raises(library):
    graph = PointCloudToGraphTransform(library)(MOLECULE)["graph"]
    with pytest.raises(ValueError, match="'graph' is a batch of graphs, expected a single graph"):
        GraphToPointCloudTransform(library)({"graph": batch([graph, graph])})
