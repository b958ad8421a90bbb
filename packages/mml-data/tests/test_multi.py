import numpy as np
import pytest
import torch
from mml_data import LMDBDataset, MaterialsProjectDataset, MultiDataModule, MultiDataset
from pytorch_lightning import Callback, LightningModule, Trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append({name: list(part["sample_id"]) for name, part in batch.items()})
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_samples_and_batches_name_data_set(stored, unsplit):
    both = MultiDataset({"a": LMDBDataset(stored, split="train"), "b": LMDBDataset(unsplit)})
    assert (len(both), both.names) == (22, ("a", "b"))
    assert (both[0]["dataset"], both[11]["dataset"], both[12]["dataset"], both[-1]["dataset"]) == (
        "a",
        "a",
        "b",
        "b",
    )
    assert both[12]["sample_id"] == "plain/000000"
    batch = both.collate_fn([both[0], both[13], both[1]])
    assert list(batch) == ["a", "b"]
    assert batch["a"]["sample_id"] == ["toy/000001", "toy/000003"]
    assert "dataset" not in batch["a"]
    with pytest.raises(IndexError):
        both[22]


def test_data_sets_have_unique_names(stored, unsplit):
    assert MultiDataset([MaterialsProjectDataset(stored), LMDBDataset(unsplit)]).names == (
        "MaterialsProjectDataset",
        "plain",
    )
    with pytest.raises(ValueError, match="names of data sets must be unique, got toy, toy; pass a dict"):
        MultiDataset([LMDBDataset(stored), LMDBDataset(stored)])
    with pytest.raises(ValueError, match="requires at least one data set"):
        MultiDataset([])


@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader`", "ignore:Total length of `list`")
def test_epoch_reads_everything_once_and_resumes(stored, unsplit, tmp_path):
    def data():
        both = {"a": LMDBDataset(stored, split="train"), "b": LMDBDataset(unsplit)}
        return MultiDataModule(batch_size=4, train_dataset=both, seed=2)

    class Save(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if len(module.seen) == 4:
                trainer.save_checkpoint(tmp_path / "four.ckpt")

    def fit(callbacks=(), ckpt_path=None):
        module = Recorder()
        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
        trainer = Trainer(
            accelerator="cpu", max_epochs=2, callbacks=list(callbacks), enable_checkpointing=False, **quiet
        )
        trainer.fit(module, datamodule=data(), ckpt_path=ckpt_path, weights_only=True)
        return module

    whole = fit([Save()])
    assert len(whole.seen) == 2 * 6
    first = [one for batch in whole.seen[:6] for names in batch.values() for one in names]
    assert len(first) == len(set(first)) == 22
    rest = fit(ckpt_path=tmp_path / "four.ckpt")
    assert rest.seen == whole.seen[4:]


def test_statistics_are_per_data_set(stored, unsplit):
    subset = LMDBDataset(stored, indices=[0, 1, 2])
    data = MultiDataModule(
        train_dataset={"a": LMDBDataset(stored, split="val"), "b": LMDBDataset(unsplit), "c": subset}
    )
    found = data.target_statistics()
    assert found["a"] == LMDBDataset(stored).manifest.statistics["val"]["targets"]
    assert found["b"] == LMDBDataset(unsplit).manifest.statistics["all"]["targets"]
    energy = [subset.stored(index)["targets"]["energy"] for index in range(3)]
    assert found["c"]["energy"]["mean"] == pytest.approx(np.mean(energy))


def test_missing_parts_raise(stored):
    data = MultiDataModule(val_dataset=[LMDBDataset(stored)], batch_size=8)
    assert [len(batch["toy"]["sample_id"]) for batch in data.val_dataloader()] == [8, 8, 4]
    with pytest.raises(ValueError, match="no data set to test; pass test_dataset"):
        data.test_dataloader()
    with pytest.raises(ValueError, match="no data set is given; pass train_dataset, val_dataset"):
        MultiDataModule()
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        MultiDataModule(0, val_dataset=[LMDBDataset(stored)])
    assert MultiDataModule(predict_dataset=[LMDBDataset(stored)]).val_dataloader() == []
