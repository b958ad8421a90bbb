"""The Lightning data module: a data set, its parts, and loaders for them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from mml_data.dataset import LMDBDataset
from mml_data.devsets import DEVSETS
from mml_data.loader import ResumableDataLoader, make_sampler
from mml_data.named import NAMED_DATASETS
from mml_data.parts import Part, Parts, check_split_options, make_parts
from mml_data.resumable import ResumableDataModule
from mml_data.sampler import EpochSampler
from mml_data.statistics import DatasetStatistics

__all__ = ["MatSciMLDataModule"]

logger = logging.getLogger(__name__)


def _no_devset(name: str) -> str:
    instead = NAMED_DATASETS[name].devset
    return (
        f"{name} needs train_path, the directory of the data: they are not ours to ship; "
        f"to try things out there is the embedded data set {instead!r} ({DEVSETS[instead]}): "
        f"MatSciMLDataModule({instead!r})"
    )


_NEEDED = (
    ("validate", "val", "val_split"),
    ("test", "test", "test_split"),
    ("predict", "predict", "pred_split"),
)
"""Stage, the part that it needs, and the option that makes one."""


class MatSciMLDataModule(ResumableDataModule):
    """Training, validation, test and prediction batches of a data set.

    Parameters
    ----------
    dataset
        The name of an embedded data set (``"emt"``, ``"prototypes"``), a data set, or a class of data sets or
        the name of one (``"MaterialsProjectDataset"``), which is called as ``dataset(train_path,
        **dset_kwargs)``. Not needed where `train_path` is a data set directory.
    train_path
        Directory of the data set.
    batch_size
        Structures in a batch, on each device.
    num_workers
        Processes that load, on each device; 0 loads in the training process.
    val_split, test_split
        0.0: the split that is recorded in the data set, if there is one. Above 0 and below 1: that fraction
        of the training part, drawn at random. A path: another data set of the same kind.
    pred_split
        The same for prediction; without one, and without a recorded split ``predict``, the test part.
    seed
        Seed of random splits, of the order of training samples and of random transforms; default: what
        Lightning's ``seed_everything`` was given, or 0. It is saved in checkpoints: a fit that goes on keeps
        it.
    dset_kwargs
        Further arguments of the data set.
    persistent_workers
        Whether workers live on between epochs; default: yes, where there are workers.
    max_atoms, max_edges
        Fill training, validation and test batches up to this many atoms or edges, instead of with
        `batch_size` structures; see `mml_data.budget.BudgetSampler`. Edges are known of samples that hold
        them, as `LMDBDataset.precompute` stores them.
    transforms
        Callables, dict to dict, applied in order to a sample when it is read. Random numbers that they draw
        depend on seed, epoch and sample only; in evaluation they are the same in every epoch (see
        `mml_data.seeded.SeededSamples`). If the last two are ``PeriodicPropertiesTransform`` and
        ``PointCloudToGraphTransform``, batches are made by `mml_graphs.GraphCollate`, which gives the same in
        less time.

    Raises
    ------
    TypeError, ValueError
        Where the arguments contradict each other or are out of range.
    """

    def __init__(
        self,
        # Not Dataset[Any], whose subclasses jsonargparse does not find; str last, as all input is one.
        dataset: type[Dataset] | Dataset | str | None = None,  # type: ignore[type-arg]
        train_path: str | Path | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        val_split: float | str | Path | None = 0.0,
        test_split: float | str | Path | None = 0.0,
        pred_split: float | str | Path | None = None,
        seed: int | None = None,
        dset_kwargs: dict[str, Any] | None = None,
        persistent_workers: bool | None = None,
        max_atoms: int | None = None,
        max_edges: int | None = None,
        transforms: list[Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
    ) -> None:
        super().__init__(seed)
        if isinstance(dataset, str) and dataset in NAMED_DATASETS:
            if train_path is None:
                raise ValueError(_no_devset(dataset))
            dataset = NAMED_DATASETS[dataset]
        if dataset is None and train_path is None:
            raise ValueError("give dataset (for example 'emt') or train_path (the directory of a data set)")
        if isinstance(dataset, type) and train_path is None:
            raise ValueError(
                f"dataset is the class {dataset.__name__}: give train_path, the directory that it reads"
            )
        if train_path is not None and not (dataset is None or isinstance(dataset, type)):
            raise ValueError(f"give dataset ({dataset!r}) or train_path ({str(train_path)!r}), not both")
        if isinstance(dataset, Dataset) and dset_kwargs:
            raise ValueError("dset_kwargs are for a data set that is made here, but dataset is one already")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, it is {batch_size}")
        if num_workers < 0:
            raise ValueError(f"num_workers must not be negative, it is {num_workers}")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers needs workers: give num_workers of at least 1")
        for name, budget in (("max_atoms", max_atoms), ("max_edges", max_edges)):
            if budget is not None and budget < 1:
                raise ValueError(f"{name} must be at least 1, it is {budget}")
        check_split_options({"val_split": val_split, "test_split": test_split, "pred_split": pred_split})
        self.dataset = dataset
        self.train_path = train_path
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.val_split = val_split
        self.test_split = test_split
        self.pred_split = pred_split
        self.dset_kwargs = dict(dset_kwargs or {})
        self.persistent_workers = num_workers > 0 if persistent_workers is None else persistent_workers
        self.max_atoms = max_atoms
        self.max_edges = max_edges
        self.transforms = list(transforms or [])
        self._source: Dataset[Any] | None = None
        self._parts: Parts | None = None
        self._statistics: dict[str, Any] | None = None

    @classmethod
    def from_devset(
        cls, dataset: str, dset_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> "MatSciMLDataModule":
        """Make a data module for an embedded data set; `kwargs` as for the class.

        Parameters
        ----------
        dataset
            ``"emt"`` or ``"prototypes"``.
        dset_kwargs
            Further arguments of the data set.
        **kwargs
            See `MatSciMLDataModule`.

        Raises
        ------
        ValueError
            Where there is none of this name, as of data that we cannot ship; the message names one.
        """
        return cls(dataset=dataset, dset_kwargs=dset_kwargs, **kwargs)

    def setup(self, stage: str | None = None) -> None:
        """Open the data set and split it, and check that there is a part for `stage`.

        Raises
        ------
        FileNotFoundError, ValueError
            Where the data set cannot be opened (see `LMDBDataset`), a part would be empty, or the one that
            `stage` needs is not there.
        """
        for verb, part, option in _NEEDED:
            if stage == verb and part not in self.parts:
                raise ValueError(
                    f"there is nothing to {verb}: {self._name!r} has no recorded split {part!r}; "
                    f"give {option}, a fraction of the training samples or the path of a data set"
                )
        logger.info("%s: %s", self._name, {name: len(part) for name, part in self.parts.items()})

    @property
    def parts(self) -> dict[str, Part]:
        """The parts: ``train``, and those of ``val``, ``test`` and ``predict`` that there are."""
        return self._make_parts().parts

    def train_dataloader(self) -> ResumableDataLoader:
        """Batches of the training part, in an order that seed and epoch decide; it can go on in mid-epoch."""
        part, collate = self._batching("train")
        return self._training_loader(
            part,
            sampler=self._sampler(part, shuffle=True),
            budgets=self._budgets or None,
            collate_fn=collate,
            **self._loader_options(),
        )

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Batches of the validation part, in order; an empty list where there is none."""
        return self._evaluation_loader("val") if "val" in self.parts else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches of the test part, in order."""
        self.setup("test")
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Batches of the prediction part, in order."""
        self.setup("predict")
        # No sampler of ours: Lightning has one for prediction, which repeats nothing and knows no budgets.
        part, collate = self._batching("predict")
        options = self._loader_options() | {"batch_size": self.batch_size}
        return DataLoader(self._fixed(part), generator=torch.Generator(), collate_fn=collate, **options)

    def target_statistics(self) -> dict[str, dict[str, Any]]:
        """Return statistics of each target over the training part, as it is stored: without transforms.

        Returns
        -------
        dict
            Target name to ``mean``, ``std``, ``rms``, ``min``, ``max``, ``count``, and for one number a
            structure ``per_atom_mean`` and ``per_atom_std``; for integers and booleans ``classes``,
            ``class_counts`` and ``count``. See `mml_data.statistics.DatasetStatistics`.
        """
        return self._train_statistics()["targets"]

    def describe(self) -> dict[str, Any]:
        """Say what the data are, for a report.

        Returns
        -------
        dict
            ``name``, ``path`` (None where the data set has none), ``counts`` (samples in each part),
            ``elements`` (atoms of each, of all samples where the manifest says so and else of the training
            part), ``seed`` and ``source``.
        """
        counts = {name: len(part) for name, part in self.parts.items()}
        source, manifest = self._source, getattr(self._source, "manifest", None)
        statistics = manifest.statistics["all"] if manifest is not None else self._train_statistics()
        return {
            "name": self._name,
            "path": str(source.path) if isinstance(source, LMDBDataset) else None,
            "counts": counts,
            "elements": statistics["elements"],
            "seed": self.seed,
            "source": manifest.source if manifest is not None else {},
        }

    def _forget(self) -> None:
        self._parts, self._statistics = None, None

    @property
    def _name(self) -> str:
        self._make_parts()
        return getattr(self._source, "name", type(self._source).__name__)

    def _make_parts(self) -> Parts:
        if self._parts is None:
            self._source = self._open()
            self._parts = make_parts(
                self._source,
                {"val": self.val_split, "test": self.test_split, "predict": self.pred_split},
                seed=self.seed,
                transforms=self.transforms,
                open_dataset=self._open_other,
            )
        return self._parts

    def _open(self) -> Dataset[Any]:
        if isinstance(self.dataset, str):
            from mml_data.devsets import devset_path

            return LMDBDataset(devset_path(self.dataset), **self.dset_kwargs)
        if isinstance(self.dataset, Dataset):
            return self.dataset
        return (self.dataset or LMDBDataset)(self.train_path, **self.dset_kwargs)  # type: ignore[call-arg,arg-type]

    def _open_other(self, path: str | Path) -> Dataset[Any]:
        made = self.dataset if isinstance(self.dataset, type) else LMDBDataset
        # Which samples of the training data set are meant says nothing about another one.
        options = {key: value for key, value in self.dset_kwargs.items() if key not in ("split", "indices")}
        return made(path, **options)  # type: ignore[call-arg]

    def _train_statistics(self) -> dict[str, Any]:
        if self._statistics is None:
            made = self._make_parts()
            if made.recorded is not None and isinstance(self._source, LMDBDataset):
                self._statistics = self._source.manifest.statistics[made.recorded]
            else:
                statistics = DatasetStatistics()
                for index in range(len(made.parts["train"])):
                    statistics.add(made.parts["train"].stored(index))
                self._statistics = statistics.result()
        return self._statistics

    def _evaluation_loader(self, name: str) -> DataLoader[Any]:
        part, collate = self._batching(name)
        # Of our kind, which can be made again with the same budgets, as Lightning does to overfit batches.
        return ResumableDataLoader(
            self._fixed(part),
            sampler=self._sampler(part, shuffle=False),
            budgets=self._budgets or None,
            collate_fn=collate,
            **self._loader_options(),
        )

    def _sampler(self, part: Part, *, shuffle: bool) -> EpochSampler:
        ranks = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        options = {"shuffle": shuffle, "seed": self.seed, **(ranks or {})}
        return make_sampler(part, self.batch_size, self._budgets, **options)

    @property
    def _budgets(self) -> dict[str, int]:
        budgets = {"max_atoms": self.max_atoms, "max_edges": self.max_edges}
        return {name: budget for name, budget in budgets.items() if budget is not None}

    def _batching(self, name: str) -> tuple[Part, Callable[[list[dict[str, Any]]], Any]]:
        """Return a part and what makes batches of its samples: together they apply all transforms."""
        from mml_graphs import (
            GraphCollate,
            PeriodicPropertiesTransform,
            PointCloudToGraphTransform,
            collate_samples,
        )

        part = self.parts[name]
        last = part.transforms[-2:]
        if [type(transform) for transform in last] == [
            PeriodicPropertiesTransform,
            PointCloudToGraphTransform,
        ]:
            return part.with_transforms(part.transforms[:-2]), GraphCollate(*last)  # type: ignore[arg-type]
        return part, collate_samples

    def _loader_options(self) -> dict[str, Any]:
        # All by keyword: Lightning makes loaders again, and fails on what was given by position.
        return {
            "batch_size": None if self._budgets else self.batch_size,
            "num_workers": self.num_workers,
            "persistent_workers": self.persistent_workers,
        }
