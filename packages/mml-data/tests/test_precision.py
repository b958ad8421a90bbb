"""Test that labels keep every digit from the file to the batch, across the modules of the package."""

import json

import numpy as np
import pytest
import torch
from mml_data import LMDBDataset, MatSciMLDataModule, MultiDataModule, split_dataset
from mml_data.convert import import_source
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_graphs.transforms import FrameAveraging, ScaleRegressionTargets

MILLI = 1e-3


NEIGHBORS = PeriodicPropertiesTransform(5.0, adaptive_cutoff=True)


GRAPH = PointCloudToGraphTransform("pyg")


def gold(index):
    """Return a gold crystal as extended XYZ, and its all-electron energy of about -5e5 eV/atom."""
    num_atoms = 1 + index % 4
    lines = [f"Au {2.9 * atom} 0.0 0.0 {0.1 * index + MILLI * atom} 0.0 -0.3" for atom in range(num_atoms)]
    cell = f"{2.9 * num_atoms} 0 0 0 2.9 0 0 0 2.9"
    energy = -5e5 * num_atoms + MILLI * index
    stress = " ".join(map(repr, (np.eye(3) * (0.1 + index * 1e-9)).ravel().tolist()))
    head = f'Lattice="{cell}" Properties=species:S:1:pos:R:3:forces:R:3 energy={energy!r} stress="{stress}"'
    return f"{num_atoms}\n{head}\n" + "\n".join(lines) + "\n", energy


def water(index):
    """Return a water molecule as a JSON line, and its all-electron energy of about -2,080 eV."""
    energy = -2080.123456789 + MILLI * index
    structure = {
        "atomic_numbers": [8, 1, 1],
        "positions": [[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.01 * index]],
        "targets": {"energy": energy, "force": [[0.1 * index] * 3] * 3, "metal": index % 2 == 0},
    }
    return json.dumps(structure) + "\n", energy


@pytest.fixture(scope="module", params=["extxyz", "jsonl"])
def imported(request, tmp_path_factory):
    """Path of an imported data set, and the energies in the source file."""
    path = tmp_path_factory.mktemp(request.param)
    texts, energies = zip(*map(gold if request.param == "extxyz" else water, range(40)), strict=True)
    source = path / f"in.{request.param}"
    source.write_text("".join(texts))
    import_source(source, path / "out")
    return path / "out", np.array(energies)


@pytest.fixture(params=[torch.float32, torch.float64, torch.bfloat16], ids=str)
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def batched_energies(loader, pick=lambda batch: batch):
    """Return the energies of a loader's samples by index, and check the dtypes of all labels."""
    found = {}
    for batch in loader:
        batch = pick(batch)
        targets = batch["targets"]
        for name, values in targets.items():
            assert values.dtype == (torch.int64 if name == "metal" else torch.float64), name
        for name, energy in zip(batch["sample_id"], targets["energy"], strict=True):
            found[int(name.rpartition("/")[2])] = energy.item()
    return found


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("transforms", [(), (NEIGHBORS, GRAPH), (NEIGHBORS,)], ids=["none", "fused", "plain"])
def test_batches_keep_energies(imported, transforms, num_workers):
    path, energies = imported
    data = MatSciMLDataModule(
        train_path=path, transforms=list(transforms), batch_size=8, num_workers=num_workers
    )
    data.setup("fit")
    found = batched_energies(data.train_dataloader()) | batched_energies(data.val_dataloader())
    data.setup("test")
    found |= batched_energies(data.test_dataloader()) | batched_energies(data.predict_dataloader())
    assert found == dict(enumerate(energies.tolist()))


def test_default_dtype_keeps_energies(imported, default_dtype):
    path, energies = imported
    data = MatSciMLDataModule(train_path=path, transforms=[NEIGHBORS, GRAPH], batch_size=8)
    found = batched_energies(data.train_dataloader())
    assert found == {index: energies[index] for index in found}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_multi_data_module_keeps_energies(imported, num_workers):
    path, energies = imported
    data = MultiDataModule(8, num_workers, {"one": LMDBDataset(path, [NEIGHBORS, GRAPH])})
    found = batched_energies(data.train_dataloader(), lambda batch: batch["one"])
    assert found == dict(enumerate(energies.tolist()))


def test_data_set_keeps_arrays(imported):
    path, _ = imported
    sample = LMDBDataset(path)[7]
    assert sample["targets"]["force"].dtype == torch.float64
    if "stress" in sample["targets"]:
        assert sample["targets"]["stress"][0, 0, 0].item() == 0.1 + 7e-9


def test_precompute_keeps_energies(imported, tmp_path):
    path, energies = imported
    dataset = LMDBDataset(path).precompute(
        [ScaleRegressionTargets(values={"energy": 2.0}), NEIGHBORS], tmp_path / "out"
    )
    assert [float(sample["targets"]["energy"]) for sample in map(dataset.__getitem__, range(40))] == [
        2 * energy for energy in energies
    ]


def test_split_dataset_keeps_exact_statistics(imported):
    path, energies = imported
    manifest = split_dataset(path, {"train": 0.5, "val": 0.25, "test": 0.25}, seed=3)
    dataset = LMDBDataset(path, split="train")
    mine = energies[dataset.indices]
    about = manifest.statistics["train"]["targets"]["energy"]
    assert about["mean"] == pytest.approx(mine.mean(), rel=1e-15)
    assert about["std"] == pytest.approx(mine.std(), rel=1e-9)
    # What no reference energy explains is a matter of meV, and not zero.
    assert 1e-5 < about["per_atom_residual_std"] < 3e-2


def test_rotation_keeps_forces_in_float64(imported):
    path, _ = imported
    sample = LMDBDataset(path)[5]
    turned = FrameAveraging("DA", seed=1)(sample)["targets"]["force"]
    assert turned.dtype == torch.float64
    torch.testing.assert_close(turned.norm(dim=1), sample["targets"]["force"].norm(dim=1), rtol=1e-14, atol=0)


class Plain(torch.utils.data.Dataset):
    """Data set of a user, with energies as Python floats and forces in float32."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {
            "atomic_numbers": torch.tensor([79]),
            "pos": torch.zeros(1, 3),
            "targets": {"energy": -5e5 + MILLI * index, "force": torch.ones(1, 3), "metal": 1},
            "sample_id": f"plain/{index}",
        }


def test_batches_keep_python_floats():
    found = batched_energies(MatSciMLDataModule(Plain(), batch_size=4).train_dataloader())
    assert found == {index: -5e5 + MILLI * index for index in range(6)}
