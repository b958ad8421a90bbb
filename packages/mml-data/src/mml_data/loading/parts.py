"""Divide a data set into training, validation, test and prediction parts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from mml_samples import Sample
from torch.utils.data import Dataset

from mml_data.dataset import LMDBDataset
from mml_data.store.splits import random_split
from mml_data.transforms import Transform, apply_transforms

__all__ = ["Part", "Parts", "SplitOption", "check_split_options", "make_parts", "no_training_samples"]

SplitOption = float | str | Path | None
"""0.0 or None: the recorded split, if any; a fraction of the training part; or the path of a data set."""


class Part(Dataset[Sample]):
    """Subset of a data set, with transforms that are applied after those of the data set.

    Parameters
    ----------
    dataset
        Data set with a length, whose samples are dicts.
    indices
        Indices of the samples in the subset, [n] int64. Default: all samples.
    transforms
        Callables from dict to dict, applied in order.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        indices: np.ndarray | None = None,
        transforms: Sequence[Transform] = (),
    ) -> None:
        self.dataset = dataset
        self.indices = np.arange(_length(dataset)) if indices is None else np.asarray(indices)
        self.transforms = tuple(transforms)

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: list[int]) -> list[Sample]: ...
    def __getitem__(self, index: int | list[int]) -> Sample | list[Sample]:
        """Return a sample, or a list of samples for a list of indices. A loader with budgets passes lists."""
        if isinstance(index, list):
            return [self[each] for each in index]
        return apply_transforms(self.dataset[int(self.indices[index])], self.transforms)

    def sizes(self, name: str) -> np.ndarray:
        """Return the number of atoms (``"natoms"``) or edges (``"nedges"``) of each sample, [len(self)].

        Raises
        ------
        ValueError
            If the data set does not record this size.
        """
        sizes = getattr(self.dataset, "sizes", None)
        if sizes is None:
            raise ValueError(
                f"{self.dataset!r} does not record the sizes of its samples, which budgets require; "
                "use a data set written by mml-data, or batch_size instead of budgets"
            )
        return np.asarray(sizes(name))[self.indices]

    def with_transforms(self, transforms: Sequence[Transform]) -> "Part":
        """Return the same samples with other transforms."""
        return Part(self.dataset, self.indices, transforms)

    def stored(self, index: int) -> Sample:
        """Return sample `index` as stored.

        If the data set has no method ``stored``, return its regular sample.
        """
        stored = getattr(self.dataset, "stored", self.dataset.__getitem__)
        return stored(int(self.indices[index]))


@dataclass(frozen=True)
class Parts:
    """Parts of a data set.

    Attributes
    ----------
    parts
        Parts by name: ``train``, ``val``, ``test`` and ``predict``, if they exist.
    recorded
        Key of the training part's statistics in the manifest, or None if the manifest does not have them.
    """

    parts: dict[str, Part]
    recorded: str | None


def check_split_options(options: Mapping[str, SplitOption]) -> None:
    """Check the values of ``val_split``, ``test_split`` and ``pred_split``.

    Raises
    ------
    TypeError, ValueError
        If a value is neither a fraction from 0 to below 1 nor a path, or if the fractions sum to 1 or more.
    """
    for name, option in options.items():
        if option is None or isinstance(option, str | Path):
            continue
        if isinstance(option, bool) or not isinstance(option, int | float):
            raise TypeError(f"{name} must be a fraction or a path, got {type(option).__name__}")
        if not 0 <= option < 1:
            raise ValueError(f"{name} must be from 0 to below 1, or the path of a data set, got {option}")
    if (total := sum(option for option in options.values() if isinstance(option, int | float))) >= 1:
        raise ValueError(f"{', '.join(options)} must sum to less than 1, got {total:g}")


def make_parts(
    dataset: Dataset[Sample],
    options: Mapping[str, SplitOption],
    *,
    seed: int,
    transforms: Sequence[Transform],
    open_dataset: Callable[[str | Path], Dataset[Sample]],
) -> Parts:
    """Divide a data set into parts.

    The training part is the recorded ``train`` split, or all samples that are in no recorded split. Fractions
    are drawn from it. Without an option and without a recorded split, ``predict`` is the test part.

    Parameters
    ----------
    dataset
        Data set to divide.
    options
        Options for ``val``, ``test`` and ``predict``. See `SplitOption`.
    seed
        Seed of random splits.
    transforms
        Transforms applied to the samples of every part.
    open_dataset
        Function that opens a data set given as a path.

    Raises
    ------
    ValueError
        If the data set would be empty, or a part for which a fraction is given.
    """
    recorded = _recorded_splits(dataset)
    everything = np.arange(_length(dataset))
    if everything.size == 0:
        raise ValueError(f"{dataset!r} has no samples")
    train = recorded.get("train")
    if train is None:
        train = np.setdiff1d(everything, np.concatenate([*recorded.values(), everything[:0]]))
    fractions = {
        name: float(option) for name, option in options.items() if isinstance(option, int | float) and option
    }
    if fractions and train.size == 0:
        raise ValueError(no_training_samples(repr(dataset), recorded))
    drawn = random_split(train, fractions, seed) if fractions else {"train": train} if train.size else {}
    parts = {name: Part(dataset, indices, transforms) for name, indices in (recorded | drawn).items()}
    for name, option in options.items():
        if isinstance(option, str | Path):
            parts[name] = Part(open_dataset(option), None, transforms)
    if "predict" not in parts and "test" in parts:
        parts["predict"] = parts["test"]
    key = (
        None
        if fractions or not _is_whole(dataset)
        else "train"
        if "train" in recorded
        else None
        if recorded
        else "all"
    )
    return Parts(parts, key)


def no_training_samples(name: str, splits: Iterable[str]) -> str:
    """Return the message for a data set of which all samples are in other splits."""
    return (
        f"{name} has no samples for training, because all are in the splits {', '.join(splits)}; train on "
        "another data set, and pass this one as test_split or val_split"
    )


def _recorded_splits(dataset: Dataset[Sample]) -> dict[str, np.ndarray]:
    if not isinstance(dataset, LMDBDataset) or not _is_whole(dataset):
        return {}
    return {name: np.asarray(dataset.split_indices(name)) for name in dataset.splits}


def _is_whole(dataset: Dataset[Sample]) -> bool:
    return isinstance(dataset, LMDBDataset) and len(dataset) == dataset.manifest.num_samples


def _length(dataset: Dataset[Sample]) -> int:
    try:
        return len(dataset)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"{dataset!r} has no length; pass a data set with __len__") from error
