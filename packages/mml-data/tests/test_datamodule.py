import json

import numpy as np
import pytest
import torch
import yaml
from mml_data import LMDBDataset, MatSciMLDataModule
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LightningCLI

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),  # Python 3.12, workers of torch
    # Lightning 2.6 with torch 2.15; not ours.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class Model(LightningModule):
    """Model that records the samples of its batches."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen = []

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.seen.append(batch["sample_id"])

        return batch_idx

    test_step = predict_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**options):
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    return Trainer(accelerator="cpu", **quiet, **options)


def test_loaders_batch_samples(stored):
    data = MatSciMLDataModule(train_path=stored, batch_size=5)
    batches = list(data.train_dataloader())
    assert [len(batch["sample_id"]) for batch in batches] == [5, 5, 2]
    batch = batches[0]
    assert batch["targets"]["energy"].shape == (5, 1)
    assert batch["pos"].shape == (int(batch["natoms"].sum()), 3)
    assert batch["target_types"] == {"regression": ["energy", "force"], "classification": ["system"]}
    in_order = [one for batch in data.val_dataloader() for one in batch["sample_id"]]
    assert in_order == ["toy/000004", "toy/000006", "toy/000008"]


def test_evaluation_reads_its_part(stored):
    for run, expected in (("validate", [4, 6, 8]), ("test", [10, 12]), ("predict", [10, 12])):
        model = Model()
        getattr(trainer(), run)(model, datamodule=MatSciMLDataModule(train_path=stored, batch_size=2))
        assert [one for batch in model.seen for one in batch] == [f"toy/{index:06d}" for index in expected], (
            run
        )


@pytest.mark.parametrize(
    "options", [{"batch_size": 2}, {"batch_size": 2, "num_workers": 1}, {"max_atoms": 9}]
)
@pytest.mark.parametrize("run", ["validate", "test", "predict"])
def test_trainer_accepts_bare_loaders(stored, run, options):
    """Lightning re-creates the loader for prediction, with a batch sampler that records indices."""
    data = MatSciMLDataModule(train_path=stored, **options)
    model = Model()
    getattr(trainer(), run)(model, data.val_dataloader())
    assert [one for batch in model.seen for one in batch] == [f"toy/{index:06d}" for index in (4, 6, 8)]


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_fit_needs_no_validation_part(unsplit):
    trainer(max_epochs=1).fit(Model(), datamodule=MatSciMLDataModule(train_path=unsplit))


def test_workers_persist_and_keep_random_state(stored):
    data = MatSciMLDataModule(train_path=stored, batch_size=4, num_workers=2)
    alone = MatSciMLDataModule(train_path=stored, batch_size=4)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    loader = data.train_dataloader()
    assert loader.persistent_workers
    assert not alone.train_dataloader().persistent_workers
    assert not MatSciMLDataModule(
        train_path=stored, num_workers=1, persistent_workers=False
    ).persistent_workers
    assert [b["sample_id"] for b in loader] == [b["sample_id"] for b in alone.train_dataloader()]
    list(data.val_dataloader())
    assert torch.equal(state, torch.get_rng_state())


def test_transforms_apply_on_read(stored, unsplit):
    data = MatSciMLDataModule(
        train_path=stored, transforms=[lambda sample: {**sample, "tag": torch.tensor(3.0)}]
    )
    assert next(iter(data.train_dataloader()))["tag"].unique().tolist() == [3.0]
    assert next(iter(data.predict_dataloader()))["tag"].unique().tolist() == [3.0]
    through_kwargs = MatSciMLDataModule(
        train_path=stored, dset_kwargs={"transforms": [lambda sample: {**sample, "tag": torch.tensor(4.0)}]}
    )
    assert next(iter(through_kwargs.val_dataloader()))["tag"].unique().tolist() == [4.0]
    elsewhere = {**through_kwargs.dset_kwargs, "split": "train"}
    data = MatSciMLDataModule(train_path=stored, val_split=unsplit, dset_kwargs=elsewhere)
    assert next(iter(data.val_dataloader()))["tag"].shape == (10, 1)


def test_data_module_accepts_classes_and_objects(stored, unsplit):
    of_class = MatSciMLDataModule(LMDBDataset, train_path=stored, val_split=unsplit)
    assert {name: len(part) for name, part in of_class.parts.items()} == {
        "train": 12, "val": 10, "test": 2, "predict": 2,
    }  # fmt: skip
    assert len(MatSciMLDataModule(LMDBDataset(stored, split="train"), val_split=0.25).parts["val"]) == 3
    assert len(MatSciMLDataModule(train_path=stored, dset_kwargs={"split": "test"}).parts["train"]) == 2


def test_from_devset_opens_embedded_data():
    data = MatSciMLDataModule.from_devset("emt", batch_size=4)
    assert {"train", "val", "test"} <= set(data.parts)
    assert data.describe()["name"] == "emt"
    assert {"energy", "force"} <= set(data.target_statistics())
    with pytest.raises(ValueError, match="'lips' is not an embedded data set"):
        MatSciMLDataModule("lips").setup()


def test_recorded_statistics_equal_computed_ones(stored, splits):
    recorded = MatSciMLDataModule(train_path=stored).target_statistics()
    computed = MatSciMLDataModule(LMDBDataset(stored, indices=splits["train"])).target_statistics()
    for target in (*recorded.values(), *computed.values()):  # facts of the schema
        for key in ("kind", "unit", "shape"):
            target.pop(key, None)
    assert recorded["system"] == computed["system"]
    assert recorded["energy"].pop("reference_energies") == pytest.approx(
        computed["energy"].pop("reference_energies"), rel=1e-9
    )
    for target in ("energy", "force"):
        assert recorded[target] == pytest.approx(computed[target], rel=1e-9)


def test_statistics_cover_random_training_part(stored, samples):
    data = MatSciMLDataModule(train_path=stored, val_split=0.5, seed=3)
    train = [int(sample["sample_id"][4:]) for sample in data.parts["train"]]
    energy = [samples[index]["targets"]["energy"] for index in train]
    statistics = data.target_statistics()["energy"]
    assert (statistics["count"], statistics["mean"]) == (6, pytest.approx(np.mean(energy), rel=1e-12))
    assert MatSciMLDataModule(train_path=stored).target_statistics()["energy"]["count"] == 12


def test_describe_summarizes_data(stored):
    described = MatSciMLDataModule(train_path=stored, seed=5).describe()
    assert described["name"] == "toy"
    assert described["path"] == str(stored)
    assert described["counts"] == {"train": 12, "val": 3, "test": 2, "predict": 2}
    assert described["seed"] == 5
    assert described["source"] == {"origin": "made up", "license": "MIT"}
    assert described["elements"] == LMDBDataset(stored).manifest.statistics["all"]["elements"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "no data set is given; pass dataset .* or train_path"),
        ({"dataset": LMDBDataset}, ValueError, "the class LMDBDataset requires train_path"),
        (
            {"dataset": "emt", "train_path": "x"},
            ValueError,
            r"mutually exclusive, got 'emt' and 'x'",
        ),
        ({"train_path": "x", "batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"train_path": "x", "num_workers": -1}, ValueError, "num_workers must be at least 0, got -1"),
        (
            {"train_path": "x", "persistent_workers": True},
            ValueError,
            "persistent_workers=True requires num_workers",
        ),
        (
            {"train_path": "x", "val_split": 0.5, "test_split": 0.5},
            ValueError,
            "must sum to less than 1, got 1",
        ),
        ({"train_path": "x", "val_split": 2.0}, ValueError, "val_split must be from 0 to below 1"),
        ({"train_path": "x", "seed": -1}, ValueError, "seed must be at least 0, got -1"),
    ],
)
def test_invalid_arguments_raise(arguments, error, message):
    with pytest.raises(error, match=message):
        MatSciMLDataModule(**arguments)


def test_missing_data_raise(tmp_path, unsplit, stored):
    with pytest.raises(FileNotFoundError, match=r"data set .*none' does not exist"):
        MatSciMLDataModule(train_path=tmp_path / "none").setup()
    with pytest.raises(FileNotFoundError, match=r"data set .*none' does not exist"):
        MatSciMLDataModule(train_path=unsplit, val_split=tmp_path / "none").setup()
    with pytest.raises(ValueError, match="dset_kwargs have no effect on a data set object"):
        MatSciMLDataModule(LMDBDataset(stored), dset_kwargs={"split": "val"})


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_stage_without_samples_raises(unsplit, stage):
    with pytest.raises(
        ValueError, match=rf"no samples to {stage}, because data set 'plain' has no split .*pass .*_split"
    ):
        getattr(trainer(), stage)(Model(), datamodule=MatSciMLDataModule(train_path=unsplit))


CONFIG = """
dataset: null
train_path: {path}
batch_size: 3
collate: plain
val_split: 0.25
test_split: {path}
transforms:
- class_path: mml_graphs.PeriodicPropertiesTransform
  init_args:
    cutoff_radius: 6.5
    adaptive_cutoff: true
- class_path: mml_graphs.PointCloudToGraphTransform
  init_args:
    backend: pyg
"""


@pytest.fixture
def cli(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["train", "--seed_everything=12", *arguments])
        defaults = {"accelerator": "cpu", "logger": False}
        return LightningCLI(Model, MatSciMLDataModule, run=False, trainer_defaults=defaults).datamodule

    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # so that it is put back: Lightning's seed_everything sets it
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning 2.6 uses what is deprecated
    return run


def test_yaml_sets_transforms_and_splits(stored, tmp_path, cli):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"data": yaml.safe_load(CONFIG.format(path=stored))}))
    data = cli("--config", str(config), "--data.batch_size=4")
    assert [type(transform).__name__ for transform in data.transforms] == [
        "PeriodicPropertiesTransform",
        "PointCloudToGraphTransform",
    ]
    assert (data.batch_size, data.seed, data.val_split, data.collate) == (4, 12, 0.25, "plain")
    assert len(data.parts["test"]) == 20
    assert next(iter(data.train_dataloader()))["graph"].num_graphs == 4


def test_command_line_accepts_names_and_classes(stored, cli):
    assert cli("--data.dataset=emt").dataset == "emt"
    assert len(cli("--data.dataset=mml_data.LMDBDataset", f"--data.train_path={stored}").parts["train"]) == 12
    instance = {"class_path": "mml_data.LMDBDataset", "init_args": {"path": str(stored), "split": "val"}}
    assert len(cli(f"--data.dataset={json.dumps(instance)}").parts["train"]) == 3
