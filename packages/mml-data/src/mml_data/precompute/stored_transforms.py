"""Apply transforms once and store the resulting samples."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from mml_samples import Sample

from mml_data.importers.source import Item, Part, balanced
from mml_data.importers.write_parts import Progress, write_parts
from mml_data.precompute.fingerprint import describe_transforms, fingerprint
from mml_data.random_state import random_state_kept, seed_sample
from mml_data.store.assemble import Splits
from mml_data.store.manifest import Manifest
from mml_data.transforms import Transform, apply_transforms

__all__ = ["StoredSamples", "precompute"]


class StoredSamples(Protocol):
    """The part of `mml_data.LMDBDataset` that is used here."""

    @property
    def name(self) -> str:
        """Return the name of the data set."""

    @property
    def manifest(self) -> Manifest:
        """Return the manifest."""

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """Return the transforms applied on reading."""

    @property
    def split(self) -> str | None:
        """Return the split that is read, or None for all samples."""

    @property
    def splits(self) -> Mapping[str, int]:
        """Return the number of samples of each recorded split."""

    @property
    def indices(self) -> np.ndarray:
        """Return the indices of the samples in the data set on disk."""

    def split_indices(self, split: str) -> np.ndarray:
        """Return the indices of the samples of a split."""

    def stored(self, index: int) -> Sample:
        """Return a sample as stored."""

    def untransformed(self, index: int) -> Sample:
        """Return a sample as tensors, without applying transforms."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


def precompute(
    dataset: StoredSamples,
    transforms: Sequence[Transform],
    path: str | Path,
    *,
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    compression: str | None = None,
    progress: Progress = False,
) -> Manifest:
    """Write the transformed samples of `dataset` to `path`. See `mml_data.LMDBDataset.precompute`."""
    everything = (*dataset.transforms, *transforms)
    made: dict[str, Any] = {
        "fingerprint": fingerprint(everything),
        "of": _checksum(dataset),
        "list": describe_transforms(everything),
    }
    if Path(path).exists() and not overwrite:
        return _check(Manifest.read(path), made, Path(path))
    units = {key: about["units"] for key, about in dataset.manifest.schema.items() if about["units"]}
    class_names = {
        key.removeprefix("targets."): about["class_names"]
        for key, about in dataset.manifest.schema.items()
        if "class_names" in about
    }
    return write_parts(
        _Transformed(dataset, tuple(transforms)),
        path,
        plan=None,
        splits=lambda count: _splits(dataset),
        about={"of": dataset.manifest.source},
        jobs=jobs,
        resume=resume,
        overwrite=overwrite,
        compression=compression,
        units=units,
        transforms=made,
        class_names=class_names,
        progress=progress,
    )


def _check(found: Manifest, made: Mapping[str, Any], path: Path) -> Manifest:
    """Return the manifest of an existing data set if it matches the one to be made.

    Raises
    ------
    ValueError
        If it does not match.
    """
    if found.transforms is None:
        raise ValueError(f"{str(path)!r} is a data set that was not precomputed; choose another path")
    if found.transforms["of"] != made["of"]:
        raise ValueError(
            f"{str(path)!r} is stale, because it was made from other samples; "
            "pass overwrite=True (--overwrite) to replace it, or choose another path"
        )
    if found.transforms["fingerprint"] != made["fingerprint"]:
        raise ValueError(
            f"{str(path)!r} is stale, because it was made with "
            f"{_differences(found.transforms['list'], made['list'])}; "
            "pass overwrite=True (--overwrite) to replace it, or choose another path"
        )
    return found


def _differences(was: list[Any], now: list[Any]) -> str:
    """Describe the differences between two lists of transforms."""
    names = [[each["name"].rpartition(".")[2] for each in some] for some in (was, now)]
    if names[0] != names[1]:
        before, after = (", ".join(some) or "(none)" for some in names)
        return f"the transforms {before}, which are now {after}"
    found = []
    for one, other in zip(was, now, strict=True):
        name = one["name"].rpartition(".")[2]
        if one["version"] != other["version"]:
            found.append(f"{name} of version {one['version']}, which is now {other['version']}")
        old, new = one.get("options", {}), other.get("options", {})
        found += [
            f"{name}({key}={old.get(key)}), which is now {new.get(key)}"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
    return ", ".join(found) or "other transforms"


def _checksum(dataset: StoredSamples) -> str:
    """Return a checksum of the samples of a data set, computed from the checksums in its manifest."""
    checksum = hashlib.sha256(dataset.name.encode())
    for shard in dataset.manifest.shards:
        checksum.update(f"{shard.count} {shard.sha256}".encode())
    if len(dataset) != dataset.manifest.num_samples or dataset.split is not None:
        checksum.update(dataset.indices.astype("<i8").tobytes())
    return checksum.hexdigest()


def _splits(dataset: StoredSamples) -> Splits:
    """Return the recorded splits if `dataset` has all samples, otherwise an empty dict."""
    if len(dataset) != dataset.manifest.num_samples or dataset.split is not None:
        return {}
    return {name: np.asarray(dataset.split_indices(name)) for name in dataset.splits}


class _Transformed:
    """Source that reads a data set and applies transforms."""

    units: Mapping[str, str] = {}

    def __init__(self, dataset: StoredSamples, transforms: tuple[Transform, ...]) -> None:
        self.dataset = dataset
        self.transforms = transforms

    def describe(self) -> dict[str, object]:
        return {"origin": self.dataset.name, "format": "precomputed", "sha256": _checksum(self.dataset)}

    def parts(self, count: int) -> list[Part]:
        pieces = balanced([1] * len(self.dataset), count)
        return [_Samples(self.dataset, self.transforms, piece.start, piece.stop) for piece in pieces]


@dataclass(frozen=True)
class _Samples:
    dataset: StoredSamples
    transforms: tuple[Transform, ...]
    first: int
    end: int

    def read(self, start: int = 0) -> Iterator[Item]:
        for index in range(self.first + start, self.end):
            yield _place(self.dataset, index), self._sample(index)

    def _sample(self, index: int) -> Mapping[str, object] | Exception:
        try:
            with random_state_kept():
                # Seeding makes the sample independent of the process and of interruptions. It also covers
                # random numbers that the data set itself draws.
                seed_sample(0, 0, index)
                sample = apply_transforms(self.dataset[index], self.transforms)
            if "graph" in sample:
                raise ValueError(
                    "a graph cannot be stored; apply PointCloudToGraphTransform on reading, which takes a "
                    "fraction of the time of finding neighbors"
                )
            return _exact(sample, self.dataset.untransformed(index), self.dataset.stored(index))
        except Exception as error:
            return ValueError(str(error))


def _place(dataset: StoredSamples, index: int) -> str:
    return str(dataset.stored(index)["sample_id"])


def _exact(
    sample: Mapping[str, object], read: Mapping[str, object], stored: Mapping[str, object]
) -> dict[str, object]:
    """Return the sample with unchanged values restored to the precision in which they are stored.

    Reading a sample converts floats to torch's default dtype, and float32 labels to float64. Storing the
    converted values would lose digits or take more space.
    """
    exact: dict[str, object] = {}
    for key, value in sample.items():
        if key in read and key in stored:
            old, before = stored[key], read[key]
            if isinstance(value, dict) and isinstance(old, dict) and isinstance(before, dict):
                value = _exact(value, before, old)
            elif _same(value, before):
                value = old
        exact[key] = value
    return exact


def _same(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor):
        return (
            isinstance(right, torch.Tensor)
            and left.dtype == right.dtype
            and left.shape == right.shape
            and bool(((left == right) | (left.isnan() & right.isnan())).all())
        )
    return bool(type(left) is type(right) and left == right)
