"""Import the shared cases of labels, and compare the data sets with the table of right results."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mml_data import LMDBDataset, MatSciMLDataModule
from mml_data.convert import import_source
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "structures"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")


def load(tmp_path, name, **options):
    manifest = import_source(CASES / name, tmp_path / "out", splits=(1, 0, 0), **options)
    return manifest, LMDBDataset(tmp_path / "out")


def kinds(manifest):
    return {
        key.removeprefix("targets."): entry["kind"]
        for key, entry in manifest.schema.items()
        if key.startswith("targets.")
    }


ENERGY_FORCE = {"energy": "scalar", "force": "per_atom"}
WITH_STRESS = {**ENERGY_FORCE, "stress": "tensor"}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("01-nep-force/train.xyz", WITH_STRESS),
        ("02-ref-keys/train.xyz", WITH_STRESS),
        ("06-dipole-water/dipole-water.extxyz", {**ENERGY_FORCE, "dipole": "vector"}),
        ("06-dipole-water/water-missing-forces.extxyz", ENERGY_FORCE),
        ("06-dipole-water/oh-first-missing-forces.extxyz", ENERGY_FORCE),
        ("06-dipole-water/dipole.jsonl", {"dipole": "vector"}),
        ("06-dipole-water/voigt6-5atoms.jsonl", {"energy": "scalar", "stress": "tensor"}),
        ("06-dipole-water/voigt6-6atoms.jsonl", {"energy": "scalar", "stress": "tensor"}),
        ("06-dipole-water/flat9.jsonl", {"energy": "scalar", "stress": "tensor"}),
        ("13-mixed/all-isolated.extxyz", ENERGY_FORCE),
        ("13-mixed/isolated-energy-only-first.extxyz", WITH_STRESS),
        ("13-mixed/isolated-energy-only-last.extxyz", WITH_STRESS),
        ("17-oc20/slabs.extxyz", ENERGY_FORCE),
        ("17-oc20/slabs.traj", ENERGY_FORCE),
        ("17-oc20/slabs.db", ENERGY_FORCE),
        ("18-missing-stress/half-stress.extxyz", WITH_STRESS),
    ],
)
def test_labels_have_right_kind(tmp_path, name, wanted):
    manifest, dataset = load(tmp_path, name)
    assert kinds(manifest) == wanted
    for sample in dataset:
        num_atoms = len(sample["pos"])
        shapes = {"scalar": (), "per_atom": (num_atoms, 3), "vector": (1, 3), "tensor": (1, 3, 3)}
        for target, kind in wanted.items():
            assert tuple(sample["targets"][target].shape) == shapes[kind]
            assert sample["targets"][target].dtype == torch.float64


def test_virial_becomes_stress_of_opposite_sign(tmp_path):
    manifest, dataset = load(tmp_path, "01-nep-force/train.xyz")
    virial = np.array([[1.5, 0.1, 0.2], [0.1, 1.4, 0.3], [0.2, 0.3, 1.3]])
    np.testing.assert_allclose(dataset[0]["targets"]["stress"][0], -virial / (4.1 * 4.2 * 4.3))
    assert manifest.source["account"]["notes"] == ["stress = virial:-1/volume"]


def test_isolated_atom_gives_reference_energy(tmp_path):
    statistics = load(tmp_path, "02-ref-keys/train.xyz")[0].statistics["all"]["targets"]["energy"]
    assert statistics["isolated_atom_energies"] == {"Si": -3.5}


def test_stress_of_six_numbers_is_in_ase_order(tmp_path):
    _, dataset = load(tmp_path, "06-dipole-water/voigt6-6atoms.jsonl")
    assert dataset[0]["targets"]["stress"].tolist() == [[[1, 6, 5], [6, 2, 4], [5, 4, 3]]]


@pytest.mark.parametrize("file", sorted(path.name for path in (CASES / "14-extra").glob("*.extxyz")))
def test_free_extra_values_do_not_stop_training(tmp_path, file):
    load(tmp_path, f"14-extra/{file}")
    check_batches(tmp_path / "out")


@pytest.mark.parametrize(
    "file",
    [
        "13-mixed/crystals-molecules-isolated.extxyz",
        "13-mixed/isolated-in-box.extxyz",
        "18-missing-stress/half-stress.extxyz",
    ],
)
def test_mixed_structures_are_batched(tmp_path, file):
    load(tmp_path, file)
    check_batches(tmp_path / "out")


def check_batches(path):
    transforms = [PeriodicPropertiesTransform(4.0), PointCloudToGraphTransform("pyg")]
    module = MatSciMLDataModule(train_path=path, batch_size=7, dset_kwargs={"transforms": transforms})
    module.setup("fit")
    count = sum(len(batch["sample_id"]) for batch in module.train_dataloader())
    assert count == len(LMDBDataset(path))


def test_missing_stress_is_counted_per_structure(tmp_path):
    manifest, dataset = load(tmp_path, "18-missing-stress/half-stress.extxyz")
    assert manifest.schema["targets.stress"]["samples"] == 30
    stress = manifest.statistics["all"]["targets"]["stress"]
    assert (stress["missing_structures"], stress["missing"], stress["count"]) == (30, 270, 270)
    assert manifest.source["account"]["targets"]["stress"]["structures"] == 30
    assert sum(bool(torch.isnan(sample["targets"]["stress"]).all()) for sample in dataset) == 30


def test_integers_and_words_become_classes(tmp_path):
    manifest, dataset = load(tmp_path, "16-classes/strings.jsonl", classes=["crystal_system"])
    names = manifest.schema["targets.crystal_system"]["class_names"]
    assert names[:2] == ["cubic", "hexagonal"]
    assert [names[int(dataset[index]["targets"]["crystal_system"])] for index in range(2)] == names[:2]
    manifest, dataset = load(
        tmp_path, "16-classes/ints.jsonl", classes=["is_metal", "spacegroup"], overwrite=True
    )
    assert kinds(manifest) == {"gap": "scalar", "is_metal": "class", "spacegroup": "class"}
    groups = manifest.schema["targets.spacegroup"]["class_names"]
    assert groups == sorted(groups)
    assert [groups[int(dataset[index]["targets"]["spacegroup"])] for index in range(3)] == [225, 221, 194]
    assert dataset[0]["target_types"]["classification"] == ["is_metal", "spacegroup"]


@pytest.mark.parametrize("name", ["slabs.extxyz", "slabs.traj", "slabs.db"])
def test_tags_and_fixed_atoms_are_keys(tmp_path, name):
    _, dataset = load(tmp_path, f"17-oc20/{name}")
    for sample in dataset:
        assert sample["tags"].shape == sample["fixed"].shape == (len(sample["pos"]),)
        assert sample["tags"].dtype == torch.int64
        assert set(sample["tags"].tolist()) <= {0, 1, 2}
        assert sample["fixed"].dtype == torch.bool
        assert sample["fixed"].any()


@pytest.mark.parametrize("name", ["15-predict/coincident.extxyz", "15-predict/near-coincident.extxyz"])
def test_close_atoms_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"frame \d+: atoms \d+ and \d+ .* angstrom apart"):
        load(tmp_path, name, targets=())
    load(tmp_path, name, targets=(), allow_close=True)
