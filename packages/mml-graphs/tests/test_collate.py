import importlib
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_graphs import (
    PeriodicPropertiesTransform,
    PointCloudToGraphTransform,
    collate_samples,
    concatenate_keys,
)
from mml_graphs.libraries import graph_libraries
from mml_graphs.libraries.graph_libraries import unbatch
from mml_graphs.testing import assert_same_graph, crystals
from torch.utils.data import DataLoader

TO_EDGES = PeriodicPropertiesTransform(3.5, on_isolated="allow")


def make(crystal, index, library="pyg"):
    num_atoms = len(crystal.positions)
    targets = {
        "energy": float(index),
        "force": torch.full((num_atoms, 3), float(index)),
        "stress": torch.eye(3)[None] * index,
    }
    types = {"regression": ["energy", "force", "stress"], "classification": []}
    lattice = torch.arange(6.0) + index
    extra = {
        "targets": targets,
        "target_types": types,
        "lattice_params": lattice,
        "note": object(),
        "n": index,
    }
    to_graph = PointCloudToGraphTransform(library, node_keys=["force"])
    return to_graph(TO_EDGES(crystal.sample(sample_id=f"test/{index}", **extra)))


@given(several=st.lists(crystals(), min_size=1, max_size=4))
def test_batch_equals_its_parts(library, several):
    samples = [make(crystal, index, library) for index, crystal in enumerate(several)]
    batch = collate_samples(samples)
    assert batch.keys() == samples[0].keys() | {"natoms"}
    num_atoms = [len(crystal.positions) for crystal in several]
    starts = np.cumsum([0, *num_atoms])
    assert batch["natoms"].tolist() == num_atoms
    num_edges = [len(sample["src_nodes"]) for sample in samples]
    for key in ("atomic_numbers", "pos"):
        parts = batch[key].split(num_atoms)
        assert all(torch.equal(part, sample[key]) for part, sample in zip(parts, samples, strict=True)), key
    for key in ("images", "offsets", "unit_offsets", "distances"):
        parts = batch[key].split(num_edges)
        assert all(torch.equal(part, sample[key]) for part, sample in zip(parts, samples, strict=True)), key
    for key in ("src_nodes", "dst_nodes"):
        parts = zip(batch[key].split(num_edges), starts, samples, strict=False)
        assert all(torch.equal(part - start, sample[key]) for part, start, sample in parts), key
    for index, sample in enumerate(samples):
        assert torch.equal(batch["cell"][index], sample["cell"][0])
        assert torch.equal(batch["pbc"][index], sample["pbc"])
        assert torch.equal(batch["lattice_params"][index], sample["lattice_params"])
        assert batch["cutoff_radius"][index].tolist() == [sample["cutoff_radius"]]
        assert batch["targets"]["energy"][index].tolist() == [index]
        assert torch.equal(batch["targets"]["force"].split(num_atoms)[index], sample["targets"]["force"])
        assert torch.equal(batch["targets"]["stress"][index], sample["targets"]["stress"][0])
        assert batch["note"][index] is sample["note"]
        assert_same_graph(unbatch(batch["graph"])[index], sample["graph"])
    assert batch["sample_id"] == [f"test/{index}" for index in range(len(samples))]
    assert batch["target_types"] == samples[0]["target_types"]
    graph = batch["graph"]
    edges, counts = (
        (graph.edge_index, graph.ptr.diff())
        if library == "pyg"
        else (torch.stack(graph.edges()), graph.batch_num_nodes())
    )
    assert torch.equal(edges, torch.stack([batch["src_nodes"], batch["dst_nodes"]]))
    assert counts.tolist() == num_atoms


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], torch.tensor([[1], [2]])),
        ([True, False], torch.tensor([[True], [False]])),
        ([0.5, 2], torch.tensor([[0.5], [2.0]])),
        ([np.float64(0.5), np.float32(1.5)], torch.tensor([[0.5], [1.5]])),
        ([torch.tensor(3), torch.tensor(4)], torch.tensor([[3], [4]])),
        ([torch.tensor(0.1, dtype=torch.float64)], torch.tensor([[0.1]], dtype=torch.float64)),
        ([np.array(2), 3], torch.tensor([[2], [3]])),
        ([torch.tensor(2.5), 3], torch.tensor([[2.5], [3.0]])),
        ([np.zeros((1, 2)), np.ones((2, 2))], torch.tensor([[0.0, 0], [1, 1], [1, 1]], dtype=torch.float64)),
    ],
)
def test_numbers_and_arrays(values, expected):
    result = collate_samples([{"key": value} for value in values])
    assert torch.equal(result["key"], expected)
    assert result["key"].dtype == expected.dtype
    assert result.keys() == {"key"}


@pytest.mark.parametrize(
    "values", [["a", "b"], [None, None], [[1, 2], [3]], [np.array(["a"]), np.array(["b"])], [(1,), (2,)]]
)
def test_other_values_become_lists(values):
    assert collate_samples([{"key": value} for value in values])["key"] == values


def test_short_cells_and_flags_are_stacked():
    sample = {"atomic_numbers": torch.tensor([6]), "cell": torch.eye(3), "pbc": np.array([True, False, True])}
    batch = collate_samples([sample, sample])
    assert batch["cell"].shape == (2, 3, 3)
    assert batch["pbc"].tolist() == [[True, False, True]] * 2


def test_mismatched_graphs_name_samples(library):
    """PyG by itself drops without a word what only later graphs hold."""
    transform = PointCloudToGraphTransform(library)
    samples = [transform({"atomic_numbers": [2], "pos": [[0.0, 0, 0]], "sample_id": name}) for name in "ab"]
    more = PointCloudToGraphTransform(library, node_keys=["q"])({**samples[1], "q": [1.0]})
    del more["q"]
    with pytest.raises(ValueError, match=r"^'graph': sample 'b' has '.*q', but sample 'a' does not"):
        collate_samples([samples[0], more])
    with pytest.raises(
        ValueError,
        match=r"'graph' must have the same type in all samples, got .* graph in sample 'a' and object in",
    ):
        collate_samples([samples[0], {**samples[1], "graph": None}])
    nested = {**samples[1], "graph": graph_libraries.batch([samples[0]["graph"], samples[1]["graph"]])}
    with pytest.raises(
        ValueError, match="'graph': sample 'b' has a batch of graphs, expected a single graph"
    ):
        collate_samples([samples[0], nested])


def test_keys_keep_their_own_values():
    batch = collate_samples(
        [{"a": torch.ones(2), "b": {"c": object()}}, {"a": torch.ones(2), "b": {"c": object()}}]
    )
    assert batch["a"].tolist() == [1.0] * 4
    assert isinstance(batch["b"]["c"], list)


def test_samples_are_not_changed():
    sample = {
        "atomic_numbers": torch.tensor([6, 6]),
        "src_nodes": torch.tensor([0, 1]),
        "dst_nodes": torch.tensor([1, 0]),
    }
    batch = collate_samples([sample, sample])
    assert batch["src_nodes"].tolist() == [0, 1, 2, 3]
    assert sample["src_nodes"].tolist() == [0, 1]
    assert sample.keys() == {"atomic_numbers", "src_nodes", "dst_nodes"}


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "samples must contain at least one sample"),
        (
            [{"a": 1}, {"a": 1, "b": 2}],
            "sample 1 of the batch has the key 'b', but sample 0 of the batch does not",
        ),
        (
            [{"sample_id": "x", "targets": {"e": 1}}, {"sample_id": "y", "targets": {}}],
            "sample 'x' has the key 'targets.e', but sample 'y' does not",
        ),
        (
            [{"a": 1}, {"a": "one"}],
            "'a' must have the same type in all samples, got number in sample 0 of the batch and object",
        ),
        (
            [{"a": torch.zeros(1, 2)}, {"a": torch.zeros(1, 3)}],
            r"'a' has shape \[1, 2\] in sample 0 .* and \[1, 3\] in sample 1",
        ),
        (
            [{"target_types": {"regression": ["e"]}}, {"target_types": {"regression": ["f"]}}],
            "'target_types' must be the same in all samples, got .* in sample 1",
        ),
        (
            [{"sample_id": "x", "pos": torch.zeros(4, 3), "targets": {"dipole": torch.zeros(3)}}],
            r"'targets.dipole' has shape \[3\] in sample 'x' with 4 atoms; the first dimension",
        ),
        ([{"src_nodes": torch.tensor([0])}], "sample 0 of the batch has 'src_nodes', but neither"),
        (
            [{"natoms": torch.tensor([3]), "pos": torch.zeros(2, 3)}],
            r"'natoms' of sample 0 of the batch is 3, but the sample has 2 atoms",
        ),
        (
            [{"cell": torch.zeros(2, 2)}],
            r"'cell' has shape \[2, 2\] in sample 0 of the batch, expected \[3, 3\]",
        ),
        ([{"pbc": torch.zeros(2)}], r"'pbc' has shape \[2\] in sample 0 of the batch, expected \[3\]"),
    ],
)
def test_mismatched_samples_raise(samples, message):
    with pytest.raises(ValueError, match=message):
        collate_samples(samples)


# A module of its own, for a worker that is spawned imports what it unpickles.
DATASET = """
from torch.utils.data import Dataset
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
import numpy as np

class Crystals(Dataset):
    def __init__(self, library):
        self.find_neighbors = PeriodicPropertiesTransform(3.0, adaptive_cutoff=True)
        self.make_graph = PointCloudToGraphTransform(library)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        sample = {"atomic_numbers": [6], "pos": [[0.0, 0, 0]], "cell": np.eye(3) * (3.0 + index)}
        return self.make_graph(self.find_neighbors({**sample, "sample_id": str(index)}))
"""


# Python 3.12 warns wherever a process with threads forks, as a DataLoader does.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_return_equal_batches(library, start, tmp_path, monkeypatch):
    (tmp_path / "crystals_for_workers.py").write_text(DATASET, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    crystals_here = importlib.import_module("crystals_for_workers").Crystals(library)
    options = {"batch_size": 2, "collate_fn": collate_samples}
    here = list(DataLoader(crystals_here, **options))
    there = list(DataLoader(crystals_here, num_workers=1, multiprocessing_context=start, **options))
    for one, other in zip(here, there, strict=True):
        assert one["sample_id"] == other["sample_id"]
        assert torch.equal(one["distances"], other["distances"])
        for graph, same in zip(unbatch(one["graph"]), unbatch(other["graph"]), strict=True):
            assert_same_graph(graph, same)


def test_concatenate_keys_equals_collate_samples():
    clouds = [{"pos": torch.full((n, 3), 1.0 + n), "charge": torch.arange(n), "n": n} for n in (2, 3)]
    old = pickle.loads(pickle.dumps(partial(concatenate_keys, pad_keys=["pos"], unpacked_keys=["n"])))
    batch = old(batch=clouds)
    assert batch["pos"].shape == (2, 3, 3)
    assert batch["mask"].tolist() == batch["pos_mask"].tolist() == [[True, True, False], [True] * 3]
    assert torch.equal(batch["pos"][batch["mask"]], torch.cat([cloud["pos"] for cloud in clouds]))
    assert batch["n"] == [2, 3]
    assert batch["charge"].tolist() == [0, 1, 0, 1, 2]
    assert batch["natoms"].tolist() == [2, 3]
    assert batch.keys() == {"pos", "charge", "n", "natoms", "mask", "pos_mask"}
    plain = concatenate_keys(clouds)
    assert plain.keys() == collate_samples(clouds).keys()
    assert torch.equal(plain["pos"], collate_samples(clouds)["pos"])


def test_padded_keys_have_masks():
    clouds = [
        {"pair": torch.ones(n, n, 5), "pos": torch.ones(n, 3), "src_nodes": torch.arange(n)} for n in (1, 3)
    ]
    batch = collate_samples(clouds, pad_keys=["pair", "pos"], unpacked_keys=["src_nodes"])
    assert batch["pair"].shape == (2, 3, 3, 5)
    assert torch.equal(batch["mask"], batch["pair_mask"])
    assert batch["pair_mask"][0].sum() == 1
    assert batch["pair_mask"].shape == (2, 3, 3)
    assert batch["pos_mask"].shape == (2, 3)
    assert [nodes.tolist() for nodes in batch["src_nodes"]] == [[0], [0, 1, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pad_keys": "pos"}, r"pad_keys must be a list of keys, got the string 'pos'. Pass \['pos'\]"),
        (
            {"pad_keys": ["pso"]},
            r"pad_keys contains 'pso', which is not among the keys of the samples: \['a', 'energy'",
        ),
        ({"unpacked_keys": ["pso"]}, "unpacked_keys contains 'pso', which is not among the keys"),
        ({"pad_keys": ["pos"], "unpacked_keys": ["pos"]}, "must not contain a key twice"),
        (
            {"pad_keys": ["energy"]},
            "the samples already have 'mask', which is the key of a mask of pad_keys",
        ),
    ],
)
def test_bad_key_lists_raise(options, message):
    sample = {"pos": torch.zeros(2, 3), "energy": 1.0, "a": torch.zeros(1), "mask": 3}
    with pytest.raises(ValueError, match=message):
        collate_samples([sample, sample], **options)


def test_unpacked_keys_become_lists():
    sample = {"pos": torch.zeros(2, 3), "natoms": 2, "graph": "none"}
    batch = collate_samples([sample, sample], unpacked_keys=["natoms", "graph"])
    assert batch["natoms"] == [2, 2]
    assert batch["graph"] == ["none", "none"]
    with pytest.raises(
        ValueError, match="sample 1 of the batch has the key 'pos', but sample 0 of the batch does not"
    ):
        collate_samples([{"q": 1}, {"q": 1, "pos": torch.zeros(2, 3)}], unpacked_keys=["pos"])


def test_unpaddable_values_raise():
    with pytest.raises(
        ValueError, match=r"pad_keys contains 'energy', which is of type float in sample 0 of the batch"
    ):
        collate_samples([{"energy": 1.0}] * 2, pad_keys=["energy"])
    with pytest.raises(
        ValueError,
        match=r"pad_keys contains 'pos', but arrays of shapes \[2, 3\] and \[2, 2\] cannot be padded",
    ):
        collate_samples([{"pos": torch.zeros(2, n)} for n in (3, 2)], pad_keys=["pos"])


def test_extra_may_differ():
    notes = [{"formula": "NaCl", "source": "a"}, {"comment": 3}]
    batch = collate_samples([{"atomic_numbers": torch.tensor([6]), "extra": note} for note in notes])
    assert batch["extra"] == notes
