"""Lightning data module that opens a data set, splits it and creates its data loaders."""

import logging
from pathlib import Path
from typing import Any

import torch
from mml_samples import Sample
from torch.utils.data import DataLoader, Dataset

from mml_data.dataset import LMDBDataset
from mml_data.devsets import DEVSETS
from mml_data.loading.collate import Collate, CollateOption, check_collate, choose_collate
from mml_data.loading.loader import ResumableDataLoader, make_sampler
from mml_data.loading.parts import Part, Parts, check_split_options, make_parts, no_training_samples
from mml_data.loading.resumable import ResumableDataModule
from mml_data.loading.sampler import EpochSampler
from mml_data.loading.target_facts import with_target_facts
from mml_data.named import NAMED_DATASETS
from mml_data.store.statistics import DatasetStatistics
from mml_data.transforms import Transform

__all__ = ["MatSciMLDataModule"]

logger = logging.getLogger(__name__)


def _no_devset(name: str) -> str:
    instead = NAMED_DATASETS[name].devset
    return (
        f"{name} requires train_path, the directory of the data, which are not part of this package; for "
        f"experiments, use MatSciMLDataModule({instead!r}) with an embedded data set: {DEVSETS[instead]}"
    )


_NEEDED = (
    ("validate", "val", "val_split"),
    ("test", "test", "test_split"),
    ("predict", "predict", "pred_split"),
)
"""Stage, the part that the stage needs, and the option that creates the part."""


class MatSciMLDataModule(ResumableDataModule):
    """Lightning data module for the training, validation, test and prediction batches of a data set.

    Parameters
    ----------
    dataset
        One of: the name of an embedded data set (``"emt"``, ``"prototypes"``); a data set object; a data set
        class, or the name of one (``"MaterialsProjectDataset"``), which is called as
        ``dataset(train_path, **dset_kwargs)``. Not needed if `train_path` is a data set directory.
    train_path
        Directory of the data set.
    batch_size
        Number of structures in a batch on each device.
    num_workers
        Number of worker processes that load data on each device. With 0, the training process loads the data.
    val_split, test_split
        0.0 uses the split recorded in the data set, if it has one. A number above 0 and below 1 is a fraction
        of the training part, drawn at random. A path is the directory of another data set of the same kind.
    pred_split
        Same as `val_split`, for prediction. By default, the recorded split ``predict`` is used, or the test
        part if the data set does not record that split.
    seed
        Seed of random splits, of the order of training samples and of random transforms. Default: the seed
        given to Lightning's ``seed_everything``, or 0. The seed is saved in checkpoints, and a resumed fit
        keeps it.
    dset_kwargs
        Further arguments of the data set.
    persistent_workers
        Whether worker processes stay alive between epochs. Default: True if `num_workers` is above 0.
    max_atoms, max_edges
        Maximum number of atoms or edges in a training, validation or test batch. Batches are filled up to
        these budgets, and `batch_size` is ignored for them. See
        `mml_data.loading.budget.BudgetSampler`. `max_edges` needs stored edges, as written by
        `LMDBDataset.precompute`.
    transforms
        Callables from dict to dict. They are applied in order when a sample is read. The random numbers that
        they draw depend only on the seed, the epoch and the sample. In evaluation they are the same in every
        epoch (see `mml_data.loading.seeded.SeededSamples`).
    collate
        How to create a batch. ``"plain"`` applies all transforms to each sample and joins the samples with
        `mml_graphs.collate_samples`. ``"fused"`` applies the last two transforms to all samples of a batch
        together with `mml_graphs.GraphCollate`, which gives the same batch in less time. These two transforms
        must be exactly of the classes ``PeriodicPropertiesTransform`` and ``PointCloudToGraphTransform``,
        because a subclass may behave differently. ``"auto"`` uses ``"fused"`` if the transforms allow it,
        otherwise ``"plain"``.

    Raises
    ------
    TypeError, ValueError
        If the arguments contradict each other or are out of range.
    """

    def __init__(
        self,
        # Not Dataset[Sample], because jsonargparse does not find its subclasses. str comes last because all
        # command-line input is a string.
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
        transforms: list[Transform] | None = None,
        collate: CollateOption = "auto",
    ) -> None:
        super().__init__(seed)
        if isinstance(dataset, str) and dataset in NAMED_DATASETS:
            if train_path is None:
                raise ValueError(_no_devset(dataset))
            dataset = NAMED_DATASETS[dataset]
        if dataset is None and train_path is None:
            raise ValueError(
                "no data set is given; pass dataset (for example 'emt') or train_path (a directory)"
            )
        if isinstance(dataset, type) and train_path is None:
            raise ValueError(
                f"the class {dataset.__name__} requires train_path; pass the directory that it reads"
            )
        if train_path is not None and not (dataset is None or isinstance(dataset, type)):
            raise ValueError(
                f"dataset and train_path are mutually exclusive, got {dataset!r} and {str(train_path)!r}; "
                "pass one of them"
            )
        if isinstance(dataset, Dataset) and dset_kwargs:
            raise ValueError(
                "dset_kwargs have no effect on a data set object; pass them to its constructor instead"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"num_workers must be at least 0, got {num_workers}")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers=True requires num_workers of at least 1, got 0")
        for name, budget in (("max_atoms", max_atoms), ("max_edges", max_edges)):
            if budget is not None and budget < 1:
                raise ValueError(f"{name} must be at least 1, got {budget}")
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
        check_collate(collate, self.transforms)
        self.collate: CollateOption = collate
        self._source: Dataset[Sample] | None = None
        self._parts: Parts | None = None
        self._statistics: dict[str, Any] | None = None

    @classmethod
    def from_devset(
        cls, dataset: str, dset_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> "MatSciMLDataModule":
        """Create a data module for an embedded data set.

        Parameters
        ----------
        dataset
            ``"emt"`` or ``"prototypes"``.
        dset_kwargs
            Further arguments of the data set.
        **kwargs
            Further arguments of `MatSciMLDataModule`.

        Raises
        ------
        ValueError
            If no embedded data set has this name, for example because its data cannot be shipped with the
            package. The message names an embedded data set.
        """
        return cls(dataset=dataset, dset_kwargs=dset_kwargs, **kwargs)

    def setup(self, stage: str | None = None) -> None:
        """Open the data set, split it, and check that it has the part that `stage` needs.

        Raises
        ------
        FileNotFoundError, ValueError
            If the data set cannot be opened (see `LMDBDataset`), if a part would be empty, or if the part
            that `stage` needs does not exist.
        """
        if stage == "fit":
            self._check_training_part()
        for verb, part, option in _NEEDED:
            if stage == verb and part not in self.parts:
                raise ValueError(
                    f"no samples to {verb}, because data set {self._name!r} has no split {part!r}; "
                    f"pass {option}, a fraction of the training samples or the path of a data set"
                )
        logger.info("parts of %s: %s", self._name, {name: len(part) for name, part in self.parts.items()})

    @property
    def parts(self) -> dict[str, Part]:
        """Parts of the data set by name: ``train``, ``val``, ``test`` and ``predict``, if they exist."""
        return self._make_parts().parts

    def train_dataloader(self) -> ResumableDataLoader:
        """Create the loader of the training part.

        The seed and the epoch determine the order of the batches. The loader can resume in the middle of an
        epoch.
        """
        self._check_training_part()
        part, collate = self._batching("train")
        return self._training_loader(
            part,
            sampler=self._sampler(part, shuffle=True),
            budgets=self._budgets or None,
            collate_fn=collate,
            **self._loader_options(),
        )

    def val_dataloader(self) -> DataLoader[Sample] | list[DataLoader[Sample]]:
        """Create the loader of the validation part, in order. Return an empty list if there is none."""
        return self._evaluation_loader("val") if "val" in self.parts else []

    def test_dataloader(self) -> DataLoader[Sample]:
        """Create the loader of the test part, in order."""
        self.setup("test")
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Create the loader of the prediction part, in order."""
        self.setup("predict")
        # No sampler from this package: Lightning has its own for prediction. It repeats no samples and does
        # not support budgets.
        part, collate = self._batching("predict")
        options = self._loader_options() | {"batch_size": self.batch_size}
        return DataLoader(self._fixed(part), generator=torch.Generator(), collate_fn=collate, **options)

    def target_statistics(self) -> dict[str, dict[str, Any]]:
        """Return statistics of each target over the training part, without transforms.

        The statistics describe the values as stored.

        Returns
        -------
        dict
            Target name to ``mean``, ``std``, ``rms``, ``min``, ``max`` and ``count``. Targets with one number
            per structure also have ``per_atom_mean`` and ``per_atom_std``. Integer and boolean targets have
            ``classes``, ``class_counts`` and ``count`` instead. See `DatasetStatistics`. If the data set has
            a manifest, each target also has ``kind``, ``unit``, ``shape`` and ``class_names`` as far as the
            manifest contains them.
        """
        numbers, manifest = self._train_statistics()["targets"], getattr(self._source, "manifest", None)
        return with_target_facts(numbers, {} if manifest is None else manifest.schema)

    def training_elements(self) -> list[str]:
        """Return the symbols of the elements in the training part, without transforms."""
        return list(self._train_statistics()["elements"])

    def describe(self) -> dict[str, Any]:
        """Return a summary of the data for reports.

        Returns
        -------
        dict
            ``name``; ``path`` (None if the data set has no path); ``counts`` (number of samples in each
            part); ``elements`` (number of atoms of each element, over all samples if the data set has a
            manifest, otherwise over the training part); ``seed``; and ``source``.
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

    def _open(self) -> Dataset[Sample]:
        if isinstance(self.dataset, str):
            from mml_data.devsets import devset_path

            return LMDBDataset(devset_path(self.dataset), **self.dset_kwargs)
        if isinstance(self.dataset, Dataset):
            return self.dataset
        return (self.dataset or LMDBDataset)(self.train_path, **self.dset_kwargs)  # type: ignore[call-arg,arg-type]

    def _open_other(self, path: str | Path) -> Dataset[Sample]:
        made = self.dataset if isinstance(self.dataset, type) else LMDBDataset
        # A selection of samples of the training data set does not apply to another data set.
        options = {key: value for key, value in self.dset_kwargs.items() if key not in ("split", "indices")}
        return made(path, **options)  # type: ignore[call-arg]

    def _check_training_part(self) -> None:
        if "train" not in self.parts:
            others = [name for name in self.parts if name != "predict"]
            raise ValueError(no_training_samples(f"data set {self._name!r}", others))

    def _train_statistics(self) -> dict[str, Any]:
        if self._statistics is None:
            self._check_training_part()
            made = self._make_parts()
            if made.recorded is not None and isinstance(self._source, LMDBDataset):
                self._statistics = self._source.manifest.statistics[made.recorded]
            else:
                statistics = DatasetStatistics()
                for index in range(len(made.parts["train"])):
                    statistics.add(made.parts["train"].stored(index))
                self._statistics = statistics.result()
        return self._statistics

    def _evaluation_loader(self, name: str) -> DataLoader[Sample]:
        part, collate = self._batching(name)
        # A ResumableDataLoader, because Lightning re-creates the loader to overfit batches, and it must keep
        # its budgets.
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

    def _batching(self, name: str) -> tuple[Part, Collate]:
        """Return a part and a collate function that together apply all transforms."""
        part = self.parts[name]
        count, collate = choose_collate(self.collate, part.transforms)
        return part.with_transforms(part.transforms[:count]), collate

    def _loader_options(self) -> dict[str, Any]:
        # Pass all options by keyword: Lightning re-creates loaders and fails on positional arguments.
        return {
            "batch_size": None if self._budgets else self.batch_size,
            "num_workers": self.num_workers,
            "persistent_workers": self.persistent_workers,
        }
