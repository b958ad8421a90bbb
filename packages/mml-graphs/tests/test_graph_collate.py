import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs import (
    GraphCollate,
    GraphToPointCloudTransform,
    PeriodicPropertiesTransform,
    PointCloudToGraphTransform,
    collate_samples,
)
from mml_graphs.testing import assert_same_edges, crystals
from pymatgen.io.ase import AseAtomsAdaptor
from torch.utils.data import DataLoader
from torch_geometric.data import Batch

WATER = {"atomic_numbers": [8, 1, 1], "pos": [[0.0, 0, 0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]]}
COPPER = {"atomic_numbers": [29], "pos": [[0.0, 0, 0]], "cell": np.full((3, 3), 1.8) - np.eye(3) * 1.8}


def one_by_one(neighbors, graph, samples):
    return collate_samples([graph(neighbors(sample)) for sample in samples])


def assert_same(one, other, path="batch"):
    assert type(one) is type(other), path
    if isinstance(one, Batch):
        assert_same(dict(one.items()), dict(other.items()), f"{path} (graph)")
        assert_same(one._slice_dict, other._slice_dict, f"{path} (slices)")
        assert_same(one._inc_dict, other._inc_dict, f"{path} (increments)")
        assert one.num_graphs == other.num_graphs
        assert one.num_nodes == other.num_nodes
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6, msg=path)
    else:
        assert one == other, path


options = st.fixed_dictionaries(
    {
        "cutoff_radius": st.sampled_from([2.0, 4.5]),
        "adaptive_cutoff": st.booleans(),
        "max_neighbors": st.sampled_from([None, 3]),
        "allow_self_loops": st.booleans(),
        "is_undirected": st.booleans(),
        "symmetric": st.booleans(),
        "backend": st.sampled_from(["auto", "auto", "numpy", "pymatgen"]),
        "convert_to_unit_cell": st.booleans(),
        "on_isolated": st.just("allow"),
    }
)


@given(some=st.lists(crystals(), min_size=1, max_size=4), options=options)
def test_batch_equals_transforms_one_by_one(some, options):
    neighbors = PeriodicPropertiesTransform(**{**options, "adaptive_cutoff": False})
    if options["adaptive_cutoff"] and all(any(crystal.pbc) for crystal in some):
        neighbors = PeriodicPropertiesTransform(**options)
    graph = PointCloudToGraphTransform("pyg", node_keys=["force", "rank"], edge_keys=["unit_offsets"])
    samples = []
    for index, crystal in enumerate(some):
        num_atoms = len(crystal.positions)
        targets = {"energy": index / 3, "force": np.arange(3.0 * num_atoms).reshape(-1, 3)}
        samples.append(crystal.sample(sample_id=f"s{index}", targets=targets, rank=torch.arange(num_atoms)))
    assert_same(GraphCollate(neighbors, graph)(samples), one_by_one(neighbors, graph, samples))


@pytest.mark.parametrize("options", [{}, {"max_neighbors": 3}, {"convert_to_unit_cell": True}])
@given(some=st.lists(crystals(), min_size=1, max_size=3), as_ase=st.booleans())
@settings(max_examples=20)
def test_batch_of_objects_equals_batch_of_arrays(some, as_ase, options):
    neighbors = PeriodicPropertiesTransform(4.5, on_isolated="allow", **options)
    collate = GraphCollate(neighbors, PointCloudToGraphTransform("pyg"))
    objects = [
        Atoms(["C"] * len(crystal.positions), crystal.positions, cell=crystal.cell, pbc=np.array(crystal.pbc))
        for crystal in some
    ]
    if not as_ase:
        objects = [AseAtomsAdaptor.get_structure(atoms) for atoms in objects]
    samples = [{"structure": each, "targets": {"energy": 1.5}} for each in objects]
    found = collate(samples)
    assert found.pop("structure") == objects
    arrays = [crystal.sample(targets={"energy": 1.5}) for crystal in some]
    expected = one_by_one(neighbors, PointCloudToGraphTransform("pyg"), samples)
    assert expected.pop("structure") == objects
    assert_same(found, expected)
    if as_ase:
        assert_same(found, collate(arrays))


def random_sample(num_atoms, seed, **keys):
    rng = np.random.default_rng(seed)
    edge = 3.0 * np.ceil(num_atoms ** (1 / 3))
    sites = rng.permutation(np.stack(np.meshgrid(*[np.arange(0.0, edge, 3.0)] * 3), -1).reshape(-1, 3))
    positions = (
        sites[:num_atoms] + rng.uniform(-0.5, 0.5, size=(num_atoms, 3)) + rng.integers(-1, 2, 3) * edge
    )
    numbers = rng.integers(1, 90, num_atoms)
    return {"atomic_numbers": numbers, "pos": positions, "cell": np.eye(3) * edge + 0.1, **keys}


@pytest.mark.parametrize("adaptive_cutoff", [False, True])
def test_mixed_sizes_equal_one_by_one(adaptive_cutoff):
    neighbors = PeriodicPropertiesTransform(6.0, adaptive_cutoff=adaptive_cutoff, on_isolated="allow")
    graph = PointCloudToGraphTransform("pyg")
    lonely = {"atomic_numbers": np.array([2, 2]), "pos": np.array([[0.0] * 3, [8.0] * 3])}
    far = {**random_sample(40, 9), "pbc": np.zeros(3, dtype=bool)}
    far["pos"] = far["pos"] + 1e6
    samples = [
        *(random_sample(num_atoms, num_atoms) for num_atoms in (2, 30, 5, 61, 3, 4, 1, 700, 33, 35)),
        {**lonely, "cell": np.eye(3) * 20, "sample_id": 1},
        {**random_sample(50, 1), "pbc": np.array([True, False, True])},
        far,
        random_sample(31, 2),
    ]
    samples = [{**sample, "sample_id": str(index)} for index, sample in enumerate(samples)]
    batch = GraphCollate(neighbors, graph)(samples)
    assert_same(batch, one_by_one(neighbors, graph, samples))
    assert batch["cutoff_radius"][10].item() == pytest.approx(14.0 if adaptive_cutoff else 6.0)


HELIUM = {"atomic_numbers": [2], "pos": [[7.0, 0, 0]]}
DIMER = {"atomic_numbers": [2, 2], "pos": [[0.0, 0, 0], [0, 0, 6.2]]}
NEAR = {"atomic_numbers": [8, 1, 1], "pos": [[0.0, 0, 0], [0.76, 0.59, 0], [30.0, 0, 0]]}
FAR = {"atomic_numbers": [8, 1, 1], "pos": [[0.0, 0, 0], [0.76, 0.59, 0], [300.0, 0, 0]]}
SPARSE = {"atomic_numbers": [3], "pos": [[0.0, 0, 0]], "cell": np.eye(3) * 7.2}


@pytest.mark.parametrize("connectivity", ["atoms", "graph"])
@pytest.mark.parametrize("backend", ["auto", "numpy", "pymatgen", "vesin", "ase"])
def test_free_atoms_have_no_edges(library, backend, connectivity, caplog):
    neighbors = PeriodicPropertiesTransform(
        5.0, adaptive_cutoff=True, backend=backend, connectivity=connectivity
    )
    graph = PointCloudToGraphTransform(library)
    far = [FAR] if connectivity == "atoms" else []
    samples = [HELIUM, DIMER, SPARSE, NEAR, COPPER, HELIUM, *far]
    samples = [{**sample, "sample_id": f"s{index}"} for index, sample in enumerate(samples)]
    batch = GraphCollate(neighbors, graph)(samples)
    radii = batch["cutoff_radius"].flatten().tolist()
    assert radii[:4] + radii[5:6] == [5.0, 6.5, 7.5, 29.5, 5.0]
    degrees = torch.bincount(batch["src_nodes"], minlength=len(batch["pos"])).split(batch["natoms"].tolist())
    assert [each.tolist() for each in degrees[:4]] == [[0], [1, 1], [6], [1, 2, 1]]
    assert degrees[5].tolist() == [0]
    if library == "pyg":
        assert_same(batch, one_by_one(neighbors, graph, samples))
        assert batch["graph"].num_graphs == len(samples)
    # Only an atom that has no neighbor, but company, is mentioned.
    told = [message for message in caplog.messages if "have no neighbor" in message or "has no" in message]
    if far:
        assert degrees[6].tolist() == [1, 1, 0]
        assert radii[6] == 5.0
        assert all("sample 's6': atom 2 has no neighbor within 100 angstrom" in text for text in told)
        strict = PeriodicPropertiesTransform(5.0, adaptive_cutoff=True, backend=backend, on_isolated="raise")
        with pytest.raises(ValueError, match=r"atom 2 has no neighbor within 100 .*\. Check the positions"):
            strict(FAR)
        assert not len(strict(HELIUM)["src_nodes"])
    else:
        assert not told


def test_free_atoms_alone_form_a_batch(library):
    neighbors = PeriodicPropertiesTransform(5.0, adaptive_cutoff=True)
    batch = GraphCollate(neighbors, PointCloudToGraphTransform(library))([HELIUM] * 3)
    assert batch["src_nodes"].shape == (0,)
    assert batch["offsets"].shape == (0, 3)
    assert batch["natoms"].tolist() == [1, 1, 1]


def test_each_cutoff_grows_until_connected():
    neighbors = PeriodicPropertiesTransform(3.0, adaptive_cutoff=True, connectivity="graph")
    slab = {"atomic_numbers": np.array([6]), "pos": np.zeros((1, 3)), "cell": np.diag([2.0, 2.0, 9.0])}
    samples = [slab, COPPER, slab]
    batch = GraphCollate(neighbors, PointCloudToGraphTransform("pyg"))(samples)
    assert_same(batch, one_by_one(neighbors, PointCloudToGraphTransform("pyg"), samples))
    assert batch["cutoff_radius"].flatten().tolist() == [9.0, 3.0, 9.0]


def test_batch_returns_single_graphs():
    neighbors = PeriodicPropertiesTransform(4.0, adaptive_cutoff=True)
    graph = PointCloudToGraphTransform("pyg")
    batch, back = GraphCollate(neighbors, graph)([COPPER, WATER])["graph"], GraphToPointCloudTransform()
    for index, sample in enumerate([COPPER, WATER]):
        found, expected = ({"graph": batch.get_example(index)}, graph(neighbors(sample)))
        assert_same_edges(back(found), back({"graph": expected["graph"]}), atol=1e-5)
        for key in ("atomic_numbers", "pos", "cell", "pbc", "natoms", "num_nodes"):
            assert torch.equal(
                torch.as_tensor(found["graph"][key]), torch.as_tensor(expected["graph"][key])
            ), key
    assert [len(graph.distances) for graph in batch.to_data_list()] == [18, 6]


def test_ambiguous_keys_equal_one_by_one():
    neighbors = PeriodicPropertiesTransform(4.0)
    graph = PointCloudToGraphTransform("pyg", node_keys=["edge_count"], graph_keys=["energy"])
    samples = [
        {**COPPER, "edge_count": [1], "energy": 1.0},
        {**WATER, "edge_count": [2, 3, 4], "energy": 2.0},
    ]
    assert_same(GraphCollate(neighbors, graph)(samples), one_by_one(neighbors, graph, samples))


def test_graph_and_batch_share_their_tensors():
    collate = GraphCollate(PeriodicPropertiesTransform(4.0), PointCloudToGraphTransform("pyg"))
    batch = collate([COPPER, WATER])
    assert batch["graph"].offsets is batch["offsets"]
    assert batch["graph"].pos is batch["pos"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_collate(method):
    collate = GraphCollate(PeriodicPropertiesTransform(4.0), PointCloudToGraphTransform("pyg"))
    samples = [COPPER, WATER, COPPER]
    loader = DataLoader(
        samples, batch_size=3, collate_fn=collate, num_workers=1, multiprocessing_context=method
    )
    (batch,) = loader
    assert_same(batch, collate(samples))


def test_collate_is_pickled_and_pasted():
    collate = GraphCollate(
        PeriodicPropertiesTransform(4.0, max_neighbors=5), PointCloudToGraphTransform("pyg")
    )
    assert repr(eval(repr(collate))) == repr(collate)
    assert_same(pickle.loads(pickle.dumps(collate))([COPPER]), collate([COPPER]))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            [COPPER, {**WATER, "sample_id": "w", "pos": [[0.0, 0, 0]]}],
            r"sample 'w': 'pos' has shape \[1, 3\]",
        ),
        ([{**COPPER, "x": 1}, WATER], "'x'"),
        (
            [random_sample(2, 0), random_sample(3, 0, sample_id=7, pos=np.full((3, 3), np.nan))],
            "sample 7: 'pos' contains values that are not finite",
        ),
        (
            [random_sample(2, 0), random_sample(2, 0, sample_id=7, pos=np.zeros((2, 3)))],
            "sample 7: atoms 0 and 1 are at the same position",
        ),
        (
            [random_sample(30, 0), random_sample(30, 0, sample_id=7, pos=np.zeros((30, 3)))],
            "sample 7: atoms 0 and 1 are at the same position",
        ),
        ([], "samples must contain at least one sample"),
    ],
)
def test_bad_samples_raise(samples, message):
    collate = GraphCollate(PeriodicPropertiesTransform(4.0), PointCloudToGraphTransform("pyg"))
    with pytest.raises(ValueError, match=message):
        collate(samples)


def test_missing_node_key_names_sample():
    collate = GraphCollate(
        PeriodicPropertiesTransform(4.0), PointCloudToGraphTransform("pyg", node_keys=["force"])
    )
    with pytest.raises(ValueError, match="sample 'cu': node key 'force' is missing"):
        collate([{**COPPER, "sample_id": "cu"}])


def test_other_transforms_raise():
    with pytest.raises(TypeError, match="neighbors must be a PeriodicPropertiesTransform, got float"):
        GraphCollate(4.0, PointCloudToGraphTransform("pyg"))
    with pytest.raises(TypeError, match="graph must be a PointCloudToGraphTransform, got str"):
        GraphCollate(PeriodicPropertiesTransform(4.0), "pyg")
