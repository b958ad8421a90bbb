from itertools import pairwise

import numpy as np
import pytest
import torch
from mml_data import LMDBDataset, split_dataset
from mml_data.convert import import_source
from mml_data.importers.labels import LabelPlan
from mml_data.importers.write_parts import write_parts
from mml_data.store.complete import MISSING, completion
from mml_data.store.stored_dataset import StoredDataset
from mml_graphs import collate_samples


class Listed:
    """Source of the given structures."""

    def __init__(self, structures):
        self.units = {}
        self.structures = structures

    def describe(self):
        return {"origin": "list", "format": "list"}

    def parts(self, count):
        edges = np.linspace(0, len(self.structures), count + 1).astype(int)
        return [Piece(self.structures[a:b], a) for a, b in pairwise(edges) if b > a]


class Piece:
    def __init__(self, structures, first):
        self.structures, self.first = structures, first

    def read(self, start=0):
        for number, structure in enumerate(self.structures[start:], start):
            yield f"list:{self.first + number + 1}", structure


def atoms(num_atoms, **more):
    positions = 3.0 * np.arange(num_atoms)[:, None] * np.ones(3)
    return {"atomic_numbers": np.full(num_atoms, 8), "positions": positions, **more}


def make(path, *structures, **options):
    return write_parts(Listed(structures), path, plan=LabelPlan(**options), splits=lambda count: {}, about={})


def test_missing_labels_are_nan(tmp_path):
    full = {
        "targets": {"energy": 1.0, "metal": True, "dos": [0.0, 1, 2, 3], "site": [0.5, 0.5]},
        "labels": {"stress": np.eye(3), "dipole": [1.0, 2, 3], "charge": 1, "spin": 1},
        "atom_labels": {
            "forces": np.ones((2, 3)),
            "magmoms": np.ones(2),
            "tags": [0, 2],
            "fixed": [True, False],
        },
        "extra": {"note": "x"},
    }
    schema = make(tmp_path / "out", atoms(3), atoms(2, **full), atoms(1)).schema
    kinds = {key[8:]: entry["kind"] for key, entry in schema.items() if key.startswith("targets.")}
    assert kinds == {
        "energy": "scalar",
        "metal": "class",
        "dos": "spectrum",
        "site": "per_atom",
        "stress": "tensor",
        "dipole": "vector",
        "force": "per_atom",
    }
    data, stored = LMDBDataset(tmp_path / "out"), StoredDataset(tmp_path / "out")
    for index, num_atoms in enumerate((3, 2, 1)):
        sample = data[index]
        shapes = {name: tuple(value.shape) for name, value in sample["targets"].items()}
        assert shapes == {
            "energy": (),
            "metal": (),
            "dos": (1, 4),
            "site": (num_atoms,),
            "stress": (1, 3, 3),
            "dipole": (1, 3),
            "force": (num_atoms, 3),
        }
        for name, value in sample["targets"].items():
            assert bool(torch.isnan(value.double()).all()) == (index != 1)
            assert name == "metal" or value.dtype == torch.float64
        for name, value in stored.stored(index)["targets"].items():
            assert np.shape(value) == shapes[name]
        assert {key: sample[key].dtype for key in ("tags", "fixed", "magmom")} == {
            "tags": torch.int64,
            "fixed": torch.bool,
            "magmom": torch.get_default_dtype(),
        }
        assert sample["extra"] == ({"note": "x"} if index == 1 else {})
        assert sample["target_types"]["classification"] == ["metal"]
    assert data[0]["tags"].tolist() == [MISSING["tags"]] * 3
    batch = collate_samples([data[index] for index in range(3)])
    assert batch["targets"]["stress"].shape == (3, 3, 3)
    assert batch["targets"]["metal"].shape == (3, 1)
    assert batch["charge"].isnan().tolist() == [[True], [False], [True]]


def test_kind_follows_from_all_structures(tmp_path):
    """Three atoms first: only the next structure shows which arrays belong to the atoms."""
    first = {"a": np.ones((3, 3)).tolist(), "b": np.ones((3, 3)).tolist(), "c": [1, 2, 3], "d": [1, 2, 3]}
    second = {"a": np.ones((2, 3)).tolist(), "b": np.ones((3, 3)).tolist(), "c": [1, 2], "d": [1, 2, 3]}
    for number, order in enumerate(([0, 1], [1, 0])):
        structures = [atoms(3, targets=first), atoms(2, targets=second)]
        manifest = make(tmp_path / f"{number}", *(structures[index] for index in order))
        schema = {key[8:]: entry for key, entry in manifest.schema.items() if key.startswith("targets.")}
        assert {name: (entry["kind"], entry["shape"]) for name, entry in schema.items()} == {
            "a": ("per_atom", ["N", 3]),
            "b": ("tensor", [1, 3, 3]),
            "c": ("per_atom", ["N"]),
            "d": ("vector", [1, 3]),
        }
        sample = LMDBDataset(tmp_path / f"{number}")[order.index(0)]
        shapes = {name: tuple(value.shape) for name, value in sample["targets"].items()}
        assert shapes == {"a": (3, 3), "b": (1, 3, 3), "c": (3,), "d": (1, 3)}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"x": 1.0}, {"x": [1.0, 2.0]}),
        ({"x": [1.0, 2.0, 3.0, 4.0]}, {"x": [1.0, 2.0, 3.0, 4.0, 5.0]}),
        ({"x": True}, {"x": 0.5}),
        ({"x": [[1.0]] * 3}, {"x": [[1.0, 2.0]] * 2}),
    ],
)
def test_conflict_names_two_structures(tmp_path, first, second):
    extra = {"source": "a.xyz", "frame": 6}
    with pytest.raises(ValueError, match=r"target 'x' is .* in structure 1, but .* in a\.xyz:frame 7; "):
        make(tmp_path / "out", atoms(3, targets=first), atoms(2, targets=second, extra=extra))
    assert not (tmp_path / ".out.partial").exists()


def test_classes_are_numbered_by_all_values(tmp_path):
    values = [{"system": "hexagonal", "group": 225}, {"system": "cubic"}, {"group": 194, "system": None}]
    structures = [atoms(2, targets=targets) for targets in values]
    manifest = make(tmp_path / "out", *structures, classes=["system", "group"])
    assert manifest.schema["targets.system"]["class_names"] == ["cubic", "hexagonal"]
    assert manifest.schema["targets.group"]["class_names"] == [194, 225]
    assert manifest.statistics["all"]["targets"]["system"] == {
        "classes": [0, 1],
        "class_counts": [1, 1],
        "count": 2,
        "missing": 1,
        "missing_structures": 1,
    }
    data = LMDBDataset(tmp_path / "out")
    assert [float(data[index]["targets"]["system"]) for index in range(2)] == [1, 0]
    assert torch.isnan(data[2]["targets"]["system"])
    assert data[0]["targets"]["system"].dtype == torch.int64
    assert [data[0]["targets"]["group"].item(), data[2]["targets"]["group"].item()] == [1, 0]


def test_free_atoms_give_isolated_energies(tmp_path):
    free = [atoms(1, labels={"energy": -3.5}), atoms(2, labels={"energy": -9.0})]
    statistics = make(tmp_path / "out", *free).statistics["all"]["targets"]["energy"]
    assert statistics["isolated_atom_energies"] == {"O": -3.5}


def test_complete_data_set_needs_no_completion(stored):
    manifest = StoredDataset(stored).manifest
    assert completion(manifest.schema, manifest.num_samples) is None


def test_import_is_read_alike_by_all_readers(tmp_path, write_lines):
    import_source(write_lines(tmp_path / "in.jsonl", 12), tmp_path / "out")
    data, stored = LMDBDataset(tmp_path / "out"), StoredDataset(tmp_path / "out")
    assert [sample.keys() for sample in data] == [stored.stored(index).keys() for index in range(12)]


def test_names_of_classes_survive_new_splits_and_precomputation(tmp_path):
    structures = [atoms(2, targets={"system": word}) for word in ["hexagonal", "cubic", "hexagonal"] * 4]
    make(tmp_path / "out", *structures, classes=["system"])
    split = split_dataset(tmp_path / "out", {"train": 0.5, "val": 0.5})
    assert split.statistics["all"]["targets"]["system"]["class_counts"] == [4, 8]
    precomputed = LMDBDataset(tmp_path / "out").precompute([wrap_atoms], tmp_path / "again")
    for data in (precomputed, LMDBDataset(tmp_path / "out")):
        assert data.manifest.schema["targets.system"]["class_names"] == ["cubic", "hexagonal"]
        assert [int(sample["targets"]["system"]) for sample in data] == [1, 0, 1] * 4
    again = split_dataset(tmp_path / "again", {"train": 0.5, "val": 0.5})
    assert again.statistics["all"]["targets"]["system"]["class_counts"] == [4, 8]


def wrap_atoms(sample):
    return sample
