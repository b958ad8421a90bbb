"""Combine several data sets to train several tasks with one encoder."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from mml_graphs import collate_samples
from mml_samples import Batch, Sample
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from mml_data.loading.loader import ResumableDataLoader
from mml_data.loading.resumable import ResumableDataModule
from mml_data.loading.sampler import EpochSampler
from mml_data.named import NamedDataset
from mml_data.store.statistics import DatasetStatistics

__all__ = ["MultiDataModule", "MultiDataset"]


class MultiDataset(ConcatDataset[Sample]):
    """Concatenation of several data sets. Each sample has the name of its data set under the key ``dataset``.

    Parameters
    ----------
    datasets
        Dict of name to data set, or an iterable of data sets. In an iterable, a named data set (such as
        ``MaterialsProjectDataset``) is called by the name of its class, and any other data set by its own
        name.

    Raises
    ------
    ValueError
        If no data set is given, or if two data sets have the same name.
    """

    def __init__(self, datasets: Mapping[str, Dataset[Sample]] | Iterable[Dataset[Sample]]) -> None:
        if isinstance(datasets, Mapping):
            named = list(datasets.items())
        else:
            named = [(_name(dataset), dataset) for dataset in datasets]
        if not named:
            raise ValueError("MultiDataset requires at least one data set, got none")
        names = [name for name, _ in named]
        if len(set(names)) < len(names):
            raise ValueError(
                f"names of data sets must be unique, got {', '.join(names)}; pass a dict of name to data set"
            )
        super().__init__([dataset for _, dataset in named])
        self.names = tuple(names)

    def __getitem__(self, index: int) -> Sample:
        position = range(len(self))[index]
        number = next(i for i, end in enumerate(self.cumulative_sizes) if position < end)
        start = self.cumulative_sizes[number - 1] if number else 0
        sample = self.datasets[number][position - start]
        return {**sample, "dataset": self.names[number]}  # type: ignore[typeddict-unknown-key]

    def __repr__(self) -> str:
        parts = ", ".join(f"{name!r}: {part!r}" for name, part in zip(self.names, self.datasets, strict=True))
        return f"{type(self).__name__}({{{parts}}})"

    def statistics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the target statistics of each data set by name. See `mml_data.store.statistics`."""
        return {
            name: _target_statistics(dataset) for name, dataset in zip(self.names, self.datasets, strict=True)
        }

    @staticmethod
    def collate_fn(samples: list[Sample]) -> dict[str, Batch]:
        """Collate the samples of each data set into a separate batch: ``{name: batch}``."""
        by_name: dict[str, list[Sample]] = {}
        for sample in samples:
            rest: dict[str, Any] = {**sample}
            by_name.setdefault(rest.pop("dataset"), []).append(cast("Sample", rest))
        return {name: collate_samples(some) for name, some in by_name.items()}


Datasets = MultiDataset | Mapping[str, Dataset[Sample]] | Iterable[Dataset[Sample]]
"""A `MultiDataset`, or the argument to create one."""


class MultiDataModule(ResumableDataModule):
    """Lightning data module for batches of several data sets, as ``{name: batch of that data set}``.

    Samples of all data sets are drawn in random order. On average, a batch contains each data set in
    proportion to its size.

    Parameters
    ----------
    batch_size
        Number of structures in a batch on each device, over all data sets together.
    num_workers
        Number of worker processes that load data. With 0, the training process loads the data.
    train_dataset, val_dataset, test_dataset, predict_dataset
        A `MultiDataset`, or the argument to create one.
    persistent_workers
        Whether worker processes stay alive between epochs. Default: True if `num_workers` is above 0.
    seed
        Seed of the order of training samples and of random transforms. Default: the seed given to Lightning's
        ``seed_everything``, or 0. The seed is saved in checkpoints, and a resumed fit keeps it.

    Raises
    ------
    ValueError
        If no data set is given, or if `batch_size` is below 1.
    """

    def __init__(
        self,
        batch_size: int = 32,
        num_workers: int = 0,
        train_dataset: Datasets | None = None,
        val_dataset: Datasets | None = None,
        test_dataset: Datasets | None = None,
        predict_dataset: Datasets | None = None,
        persistent_workers: bool | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        given = {"train": train_dataset, "val": val_dataset, "test": test_dataset, "predict": predict_dataset}
        if all(dataset is None for dataset in given.values()):
            raise ValueError(
                "no data set is given; pass train_dataset, val_dataset, test_dataset or predict_dataset"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.persistent_workers = num_workers > 0 if persistent_workers is None else persistent_workers
        self.datasets = {
            part: dataset if isinstance(dataset, MultiDataset) else MultiDataset(dataset)
            for part, dataset in given.items()
            if dataset is not None
        }

    def train_dataloader(self) -> ResumableDataLoader:
        """Create the loader of the training data sets, in an order that depends on the seed and the epoch."""
        dataset = self._dataset("train")
        return self._training_loader(dataset, sampler=self._sampler(dataset, shuffle=True), **self._options())

    def val_dataloader(self) -> ResumableDataLoader | list[ResumableDataLoader]:
        """Create the loader of the validation data sets, in order. Return an empty list if there are none."""
        return self._evaluation_loader("val") if "val" in self.datasets else []

    def test_dataloader(self) -> ResumableDataLoader:
        """Create the loader of the test data sets, in order."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Create the loader of the prediction data sets, in order."""
        dataset = self._dataset("predict")
        return DataLoader(self._fixed(dataset), generator=torch.Generator(), **self._options())

    def target_statistics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the target statistics of each training data set by name."""
        return self._dataset("train").statistics()

    def _dataset(self, part: str) -> MultiDataset:
        if part not in self.datasets:
            raise ValueError(f"no data set to {part}; pass {part}_dataset")
        return self.datasets[part]

    def _evaluation_loader(self, part: str) -> ResumableDataLoader:
        dataset = self._dataset(part)
        sampler = self._sampler(dataset, shuffle=False)
        return ResumableDataLoader(self._fixed(dataset), sampler=sampler, **self._options())

    def _sampler(self, dataset: MultiDataset, *, shuffle: bool) -> EpochSampler:
        ranks = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        return EpochSampler(dataset, self.batch_size, shuffle=shuffle, seed=self.seed, **(ranks or {}))

    def _options(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "num_workers": self.num_workers,
            "persistent_workers": self.persistent_workers,
            "collate_fn": MultiDataset.collate_fn,
        }


def _name(dataset: Dataset[Sample]) -> str:
    if isinstance(dataset, NamedDataset):
        return type(dataset).__name__
    return str(getattr(dataset, "name", type(dataset).__name__))


def _target_statistics(dataset: Any) -> dict[str, Any]:
    manifest: Any = getattr(dataset, "manifest", None)
    recorded = (
        None
        if manifest is None
        else getattr(dataset, "split", None) or ("all" if len(dataset) == manifest.num_samples else None)
    )
    if recorded is not None:
        return dict(manifest.statistics[recorded]["targets"])
    statistics = DatasetStatistics()
    stored = getattr(dataset, "stored", dataset.__getitem__)
    for index in range(len(dataset)):
        statistics.add(stored(index))
    return dict(statistics.result()["targets"])
