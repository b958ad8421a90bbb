"""The manifest: what a data set directory says about itself."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mml_data.devsets import DEVSETS

__all__ = ["FORMAT", "MANIFEST_FILE", "VERSION", "FileEntry", "Manifest"]

FORMAT = "mml-lmdb"
VERSION = 2
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """A shard, a split or sizes: its file name in the directory, the number of samples, and a checksum.

    The sha256 of a shard is that of its records in order, each preceded by its length as eight
    little-endian bytes; that of the others is the sha256 of their numbers as little-endian int64. None
    depends on how the file is laid out.
    """

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a data set is, holds and comes from; ``manifest.json`` beside the shards.

    Parameters
    ----------
    name
        Name of the data set, the first part of a sample's ``sample_id``.
    num_samples
        Number of samples in all shards together.
    shards
        The shards, in order: sample i is in the first shard whose counts add up to more than i.
    schema
        For each key (``targets.energy`` stands for a nested one) ``dtype``, ``shape`` (a list of numbers,
        ``"N"`` for the number of atoms, None where it varies; None for what is not an array), ``units`` and
        ``samples``, the number of samples that have it.
    splits
        The recorded splits, each an ``.npy`` file of int64 indices.
    sizes
        ``natoms``, and ``nedges`` where samples hold edges: each an ``.npy`` file, a number for each sample.
    compression
        What records are compressed with: ``"zstd"``, or None.
    transforms
        Of a data set that `mml_data.LMDBDataset.precompute` made: ``fingerprint``, ``of`` (checksum of the
        samples before), and ``list`` (the transforms as text). Else None.
    statistics
        For ``all`` and each split: ``count``, ``natoms``, ``elements`` and ``targets``, see
        `mml_data.statistics`.
    source
        What it was made from: free text fields such as ``origin``, ``license``, ``notes``, and ``command``,
        the complete command line or call of the import.
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
        """Write ``manifest.json`` into `directory`: complete, or not at all."""
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
            Where there is nothing.
        ValueError
            Where there is something else than a data set, or one in a format that this version cannot read.
        """
        directory = Path(directory)
        file = directory / MANIFEST_FILE
        if not directory.exists():
            raise FileNotFoundError(
                f"there is no data set at {str(directory)!r}: make one with "
                "`matsciml data import SOURCE DEST`, or name an embedded one: "
                + " or ".join(map(repr, DEVSETS))
            )
        if not file.is_file():
            raise ValueError(
                f"{str(directory)!r} is not a data set: it has no {MANIFEST_FILE}; "
                "make one with `matsciml data import SOURCE DEST`"
            )
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{str(file)!r} is damaged, it is not valid JSON: {error}") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(
                f"{str(file)!r} is not the manifest of a data set: it does not say format {FORMAT!r}"
            )
        version = content.pop("version", None)
        if version != VERSION:
            remedy = (
                "install a newer mml-data to read it"
                if isinstance(version, int) and version > VERSION
                else "import it again with `matsciml data import SOURCE DEST`"
            )
            raise ValueError(
                f"{str(directory)!r} has format version {version!r}, this mml-data reads {VERSION}: {remedy}"
            )
        try:
            content["shards"] = [FileEntry(**entry) for entry in content["shards"]]
            for group in ("splits", "sizes"):
                content[group] = {name: FileEntry(**entry) for name, entry in content[group].items()}
            return cls(**content)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{str(file)!r} is damaged: {error}") from error
