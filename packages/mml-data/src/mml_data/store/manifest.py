"""Manifest of a data set: a description of its files, samples and origin."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mml_data.devsets import DEVSETS

__all__ = ["FORMAT", "MANIFEST_FILE", "VERSION", "FileEntry", "Manifest"]

FORMAT = "mml-lmdb"
VERSION = 3
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """Manifest entry of a shard, a split or sizes: file name, number of samples, and checksum.

    The checksum of a shard is the sha256 of its records in order, each preceded by its length as eight
    little-endian bytes. The checksum of a split or of sizes is the sha256 of the numbers as little-endian
    int64. The checksums do not depend on the file layout.
    """

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Contents, files and origin of a data set, stored as ``manifest.json`` beside the shards.

    Parameters
    ----------
    name
        Name of the data set, which is the first part of a sample's ``sample_id``.
    num_samples
        Number of samples in all shards together.
    shards
        Shards, in order. Sample i is in the first shard at which the cumulative count exceeds i.
    schema
        Description of each key (a nested key is written as ``targets.energy``): ``dtype``; ``shape``, a list
        with a number, ``"N"`` (the number of atoms) or None (varies) for each dimension, or None for a value
        that is not an array; ``units``; and ``samples``, the number of samples that have the key. A target
        also has its ``kind`` (see `mml_samples.Kind`) and, if they apply: ``extensive``, whether it scales
        with the number of atoms; ``class_names``, the values of its classes in the order of their numbers,
        and ``stored``, which is ``"numbers"`` if the records contain these numbers instead of the values;
        and ``rows``, which is ``"implied"`` if some records lack the leading dimension of 1. A key with a
        ``value`` has this value in all samples and is not in the records.
    splits
        Recorded splits, each an ``.npy`` file of int64 indices.
    sizes
        ``natoms``, and ``nedges`` if the samples have edges. Each is an ``.npy`` file with one number per
        sample.
    compression
        Compression of the records: ``"zstd"``, or None.
    transforms
        For a data set made by `mml_data.LMDBDataset.precompute`: ``fingerprint``, ``of`` (checksum of the
        original samples), and ``list`` (description of the transforms). Otherwise None.
    statistics
        Statistics of ``all`` samples and of each split: ``count``, ``natoms``, ``elements`` and ``targets``.
        See `mml_data.store.statistics`.
    source
        Origin of the data set: free text fields such as ``origin``, ``license`` and ``notes``, and
        ``command``, the complete command line or call of the import.
    """

    name: str
    num_samples: int
    shards: list[FileEntry]
    schema: dict[str, dict[str, Any]]
    splits: dict[str, FileEntry] = field(default_factory=dict)
    sizes: dict[str, FileEntry] = field(default_factory=dict)
    compression: str | None = None
    transforms: dict[str, Any] | None = None
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write ``manifest.json`` into `directory` atomically."""
        text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1, allow_nan=False)
        partial = directory / f"{MANIFEST_FILE}.partial"
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(directory / MANIFEST_FILE)

    @classmethod
    def read(cls, directory: str | Path) -> "Manifest":
        """Read the manifest of the data set at `directory`.

        Raises
        ------
        FileNotFoundError
            If `directory` does not exist.
        ValueError
            If `directory` is not a data set, if its manifest is damaged, or if its format version is not
            supported.
        """
        directory = Path(directory)
        file = directory / MANIFEST_FILE
        if not directory.exists():
            raise FileNotFoundError(
                f"data set {str(directory)!r} does not exist; create it with "
                "`matsciml data import SOURCE DEST`, or use an embedded one: "
                + " or ".join(map(repr, DEVSETS))
            )
        if not file.is_file():
            raise ValueError(
                f"{str(directory)!r} is not a data set, because it has no {MANIFEST_FILE}; "
                "create a data set with `matsciml data import SOURCE DEST`"
            )
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{str(file)!r} is damaged and not valid JSON: {error}") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(
                f"{str(file)!r} is not the manifest of a data set, because its format is not {FORMAT!r}"
            )
        version = content.pop("version", None)
        if version != VERSION:
            remedy = (
                "install a newer mml-data to read it"
                if isinstance(version, int) and version > VERSION
                else "import it again with `matsciml data import SOURCE DEST`"
            )
            raise ValueError(
                f"{str(directory)!r} has format version {version!r}, but this mml-data reads {VERSION}; "
                f"{remedy}"
            )
        try:
            content["shards"] = [FileEntry(**entry) for entry in content["shards"]]
            for group in ("splits", "sizes"):
                content[group] = {name: FileEntry(**entry) for name, entry in content[group].items()}
            return cls(**content)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{str(file)!r} is damaged: {error}") from error
