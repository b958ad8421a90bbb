import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from mml_data import LMDBDataset, MatSciMLDataModule, MultiDataModule
from mml_data.loading.sampler import EpochIndex
from mml_data.loading.seeded import SeededSamples, may_draw
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_graphs.transforms import COMShift, FrameAveraging, NoisyPositions
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities.combined_loader import CombinedLoader

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),  # Python 3.12, workers of torch
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning 2.6 with torch 2.15
]


def draw(sample):
    """User-defined transform that draws from every global generator."""
    drawn = torch.tensor([[float(torch.rand(())), np.random.rand(), random.random()]])  # noqa: NPY002
    return {**sample, "targets": {**sample["targets"], "drawn": drawn}}


GRAPH = [PeriodicPropertiesTransform(5.0, adaptive_cutoff=True), PointCloudToGraphTransform("pyg")]


def module(stored, kind, num_workers, persistent=None):
    options = {"num_workers": num_workers, "persistent_workers": persistent, "seed": 4}
    if kind == "several":
        datasets = {
            "one": LMDBDataset(stored, [NoisyPositions(), draw], "train"),
            "two": LMDBDataset(stored, [draw, NoisyPositions()], "val"),
        }
        return MultiDataModule(3, train_dataset=datasets, val_dataset=datasets, **options)
    size = {"max_atoms": 12} if kind == "budget" else {"batch_size": 3}
    transforms = [NoisyPositions(), draw, *(GRAPH if kind == "fused" else [])]
    return MatSciMLDataModule(train_path=stored, transforms=transforms, **size, **options)


def noise(batches):
    """Return a dict from sample name to drawn numbers for each batch."""
    found = []
    for batch in batches:
        parts = batch.values() if "targets" not in batch else [batch]
        drawn = {}
        for part in parts:
            noises = part["targets"]["denoise"].split(part["natoms"].tolist())
            for name, row, each in zip(part["sample_id"], part["targets"]["drawn"], noises, strict=True):
                drawn[name] = (*row.tolist(), *each.ravel().tolist())
        found.append(drawn)
    return found


def epochs(data, count=3):
    loader = data.train_dataloader()
    found = []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)
        found.append(noise(loader))
    return found


@pytest.mark.parametrize("kind", ["plain", "fused", "budget", "several"])
def test_epoch_and_sample_determine_noise(stored, kind):
    whole = epochs(module(stored, kind, 0))
    assert epochs(module(stored, kind, 1)) == whole
    assert epochs(module(stored, kind, 2, persistent=False)) == whole
    for epoch, other in pairwise(whole):
        first, second = (
            {name: row for batch in some for name, row in batch.items()} for some in (epoch, other)
        )
        rows = [*first.values(), *second.values()]
        assert first.keys() == second.keys()
        # Neither the noise of an epoch nor that of a sample comes twice, of any generator.
        for column in range(4):
            assert len({row[column] for row in rows}) == len(rows)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("kind", ["fused", "budget", "several"])
def test_resumed_loader_draws_same_noise(stored, kind, num_workers):
    whole = epochs(module(stored, kind, 0), 2)[1]
    for consumed in range(len(whole) + 1):
        loader = module(stored, kind, num_workers).train_dataloader()
        loader.load_state_dict(loader.state_dict() | {"epoch": 1, "consumed": consumed})
        assert noise(loader) == whole[consumed:], consumed


@pytest.mark.parametrize("kind", ["plain", "several"])
def test_evaluation_repeats_noise(stored, kind):
    runs = []
    for num_workers in (0, 2):
        loader = module(stored, kind, num_workers).val_dataloader()
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            runs.append(noise(loader))
    assert all(run == runs[0] for run in runs)
    rows = [row[0] for batch in runs[0] for row in batch.values()]
    assert len(set(rows)) == len(rows)


def test_prediction_noise_equals_test_noise(stored):
    data = module(stored, "plain", 0)
    data.setup("test")
    assert noise(data.predict_dataloader()) == noise(data.test_dataloader())


def test_other_seed_changes_noise(stored):
    one, other = (
        MatSciMLDataModule(train_path=stored, transforms=[draw, NoisyPositions()], batch_size=12, seed=seed)
        for seed in (1, 2)
    )
    (first,), (second,) = noise(one.train_dataloader()), noise(other.train_dataloader())
    assert not {row[0] for row in first.values()} & {row[0] for row in second.values()}


def states():
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002


@pytest.mark.parametrize("kind", ["plain", "fused", "budget", "several"])
def test_reading_keeps_global_generators(stored, kind):
    np.random.standard_normal()  # noqa: NPY002 - it keeps a second number back, which is part of the state
    before = states()
    data = module(stored, kind, 0)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for _ in loader:
            assert states() == before


def fails(sample):
    torch.rand(())
    raise ValueError("no")


def test_failing_transform_keeps_global_generators(stored):
    before = states()
    with pytest.raises(ValueError, match="no"):
        next(iter(MatSciMLDataModule(train_path=stored, transforms=[fails]).train_dataloader()))
    assert states() == before


class Restless(COMShift):
    """Transform that draws random numbers, unlike its base class."""

    def __call__(self, sample):
        return draw(super().__call__(sample))


class Own(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {"index": index}


def test_may_draw_detects_random_transforms(stored):
    plain = LMDBDataset(stored)
    assert not may_draw(plain)
    assert not may_draw(
        LMDBDataset(stored, [COMShift(), *GRAPH, NoisyPositions(seed=1), FrameAveraging("3D", "all")])
    )
    for transform in (
        draw,
        Restless(),
        NoisyPositions(),
        FrameAveraging("DA"),
        FrameAveraging("3D", "stochastic"),
    ):
        assert may_draw(LMDBDataset(stored, [transform])), transform
        assert may_draw(MatSciMLDataModule(plain, transforms=[transform]).parts["train"])
    assert may_draw(Own())
    assert may_draw(torch.utils.data.Subset(Own(), [0]))
    assert not may_draw(torch.utils.data.Subset(plain, [0]))


def test_data_set_gets_plain_indices():
    samples = SeededSamples(Own(), 0)
    assert [type(sample["index"]) for sample in samples[[EpochIndex(1, 3), EpochIndex(0, 3)]]] == [int, int]


def test_jobs_keep_stored_noise(stored, tmp_path):
    dataset = LMDBDataset(stored)
    before = states()
    one = dataset.precompute([NoisyPositions()], tmp_path / "one")
    two = dataset.precompute([NoisyPositions()], tmp_path / "two", jobs=2)
    assert states() == before
    pairs = [[each[index]["targets"]["denoise"] for index in range(20)] for each in (one, two)]
    assert all(map(torch.equal, *pairs))
    assert len({float(each[0, 0]) for each in pairs[0]}) == 20


# Reading ahead, with a loader around ours.


class ReadAhead(CombinedLoader):
    """Loader that reads `ahead` batches before it yields one."""

    ahead = 2

    def __iter__(self):
        super().__iter__()
        self._waiting = []
        self._over = False
        return self

    def __next__(self):
        while not self._over and len(self._waiting) <= self.ahead:
            try:
                self._waiting.append(super().__next__())
            except StopIteration:
                self._over = True
        if not self._waiting:
            raise StopIteration
        return self._waiting.pop(0)


class Network(LightningModule):
    """Model whose weight depends on all noise and its order."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.seen = []

    def training_step(self, batch, batch_idx):
        (drawn,) = noise([batch])
        self.seen.append((self.current_epoch, batch_idx, drawn))
        return (self.weight * sum(row[0] for row in drawn.values())).sum().cos()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if len(self.seen) == self.save_at:
            self.trainer.save_checkpoint(self.path)

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data, path, save_at=0, ckpt_path=None):
    network = Network()
    network.save_at, network.path = save_at, path
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", max_epochs=3, num_sanity_val_steps=0, limit_val_batches=0,
                      **dict.fromkeys(quiet, False))  # fmt: skip
    trainer.fit(network, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return network


@pytest.mark.parametrize("kind", ["fused", "several"])
@pytest.mark.parametrize(("num_workers", "ahead"), [(0, 1), (0, 3), (2, 2)])
def test_resume_with_read_ahead(stored, tmp_path, monkeypatch, kind, num_workers, ahead):
    kind_of_module = type(module(stored, kind, 0))
    loader = kind_of_module.train_dataloader
    monkeypatch.setattr(ReadAhead, "ahead", ahead)
    monkeypatch.setattr(
        kind_of_module, "train_dataloader", lambda data: ReadAhead(loader(data), "max_size_cycle")
    )
    whole = fit(module(stored, kind, num_workers), tmp_path / "none")
    length = len(whole.seen) // 3
    for save_at in (1, length - 1, length, length + 2):
        path = tmp_path / str(save_at)
        assert fit(module(stored, kind, num_workers), path, save_at).seen == whole.seen
        rest = fit(module(stored, kind, num_workers), path, ckpt_path=path)
        assert rest.seen == whole.seen[save_at:], save_at
        assert torch.equal(rest.weight, whole.weight)
