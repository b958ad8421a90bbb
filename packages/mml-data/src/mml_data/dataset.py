"""Read a data set from disk as tensors."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from mml_samples import Sample
from torch.utils.data import Dataset

from mml_data.store.stored_dataset import StoredDataset
from mml_data.store.tensors import read_tensors, to_tensor
from mml_data.transforms import Transform, apply_transforms

__all__ = ["LMDBDataset"]


class LMDBDataset(StoredDataset, Dataset[Sample]):
    """Data set that reads samples from a directory of LMDB shards and returns them as dicts of tensors.

    Integers become int64. Floats under ``targets`` become float64. Other floats become torch's default dtype,
    except positions and lattices, which keep the precision in which they are stored. Numbers under
    ``targets`` become tensors without dimensions. A sample that is stored without a ``sample_id`` gets
    ``"<name>/<index>"``.

    Each process opens the files when it reads its first sample. A data set can therefore be pickled, forked
    and sent to worker processes.

    Parameters
    ----------
    path
        Directory of the data set.
    transforms
        Callables from dict to dict. They are applied in order when a sample is read.
    split
        Name of a recorded split. Only the samples of this split are read.
    indices
        Indices into the whole data set. Only these samples are read. Mutually exclusive with `split`.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If `path` is not a data set, has another format version or does not have the split `split`, if an
        index is out of range, or if both `split` and `indices` are given.
    """

    def __init__(
        self,
        path: str | Path,
        transforms: Iterable[Transform] = (),
        split: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        super().__init__(path, split, indices)
        self.transforms = tuple(transforms)

    def __getitem__(self, index: int) -> Sample:
        return apply_transforms(self._read(index, read_tensors, to_tensor), self.transforms)

    def untransformed(self, index: int) -> Sample:
        """Return sample `index` as a dict of tensors, without applying transforms.

        Raises the same errors as `stored`.
        """
        return self._read(index, read_tensors, to_tensor)

    def precompute(
        self,
        transforms: Sequence[Transform],
        path: str | Path,
        *,
        jobs: int = 1,
        resume: bool = False,
        overwrite: bool = False,
        compression: str | None = None,
        progress: bool | Callable[[int], object] = False,
    ) -> "LMDBDataset":
        """Apply the transforms of this data set and then `transforms`, and store the resulting samples.

        An existing data set at `path` is reused if it was made from the same samples with the same transforms
        (same classes, options and package versions). Otherwise it is stale, and an error is raised unless
        `overwrite` is True.

        Parameters
        ----------
        transforms
            Callables from dict to dict: instances of classes, or functions of a module. They must return
            plain data. Edges are plain data, graph objects are not.
        path
            Directory of the new data set.
        jobs, resume, overwrite, compression, progress
            See `mml_data.convert.import_source`.

        Returns
        -------
        LMDBDataset
            Data set of the precomputed samples, without transforms. It has the splits of this data set if
            this data set reads all samples.

        Raises
        ------
        ValueError
            If the data set at `path` is stale, if a transform cannot be identified (such as a lambda
            function), or if a transform fails.
        """
        from mml_data.precompute.stored_transforms import precompute

        precompute(
            self,
            transforms,
            path,
            jobs=jobs,
            resume=resume,
            overwrite=overwrite,
            compression=compression,
            progress=progress,
        )
        return LMDBDataset(path)

    def __repr__(self) -> str:
        split = "" if self.split is None else f", split={self.split!r}"
        transforms = f", transforms={list(self.transforms)}" if self.transforms else ""
        return f"{type(self).__name__}({str(self.path)!r}{split}{transforms})"
