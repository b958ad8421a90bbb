"""Read compressed files and archives."""

import bz2
import gzip
import lzma
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

__all__ = [
    "decompressed",
    "decompressed_name",
    "extracted",
    "is_archive",
    "open_decompressed",
    "read_head",
]

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
_HEAD = 1 << 16


def decompressed_name(name: str) -> str:
    """Return the name of a file without the suffix of its compression."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and f".{suffix.lower()}" in (*_OPENERS, ".zst") else name


def is_archive(path: Path) -> bool:
    """Return whether the name of a file is that of an archive of files."""
    return path.name.lower().endswith(_ARCHIVES)


def open_decompressed(path: Path) -> IO[bytes]:
    """Open a file for reading, and decompress it if its name has the suffix of a compression.

    Raises
    ------
    ImportError
        If the library that decompresses it is not installed.
    """
    suffix = path.suffix.lower()
    if suffix == ".zst":
        if find_spec("zstandard") is None:
            raise ImportError(
                f"reading {str(path)!r} requires zstandard, which is not installed: pip install "
                "'mml-data[zstd]'"
            )
        import zstandard

        return cast("IO[bytes]", zstandard.open(path, "rb"))
    return cast("IO[bytes]", _OPENERS.get(suffix, open)(path, "rb"))


def read_head(path: Path) -> bytes:
    """Return the first 64 kB of the decompressed content of a file.

    Raises
    ------
    OSError, EOFError
        If the file cannot be read or decompressed.
    """
    with _errors_explained(), open_decompressed(path) as file:
        return file.read(_HEAD)


@contextmanager
def _errors_explained() -> Iterator[None]:
    """Raise an OSError if a library cannot decompress a file. Each has exceptions of its own."""
    try:
        yield
    except (OSError, ImportError, EOFError):
        raise
    except Exception as error:
        raise OSError(f"the file cannot be decompressed: {error}") from error


@contextmanager
def decompressed(path: Path) -> Iterator[Path]:
    """Provide the path of the decompressed content of a file, which is `path` if it is not compressed.

    Raises
    ------
    OSError, EOFError
        If the file cannot be decompressed, for example because it is truncated.
    """
    if decompressed_name(path.name) == path.name:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="mml-data-") as folder:
        copy = Path(folder, decompressed_name(path.name))
        with _errors_explained(), open_decompressed(path) as source, copy.open("wb") as target:
            if path.suffix.lower() == ".zst":
                _copy_zstd(path, target)
            else:
                shutil.copyfileobj(source, target, 1 << 20)
        yield copy


def _copy_zstd(path: Path, target: IO[bytes]) -> None:
    """Decompress a file, or raise an error if it is truncated, which the stream of zstandard does not."""
    import zstandard

    decompressor = None
    with path.open("rb") as source:
        while data := source.read(1 << 20):
            while data:
                if decompressor is None or decompressor.eof:
                    decompressor = zstandard.ZstdDecompressor().decompressobj()
                target.write(decompressor.decompress(data))
                data = decompressor.unused_data
    if decompressor is None or not decompressor.eof:
        raise EOFError("the compressed file is truncated")


@contextmanager
def extracted(path: Path) -> Iterator[Path]:
    """Provide a temporary folder with the files of an archive.

    Raises
    ------
    OSError
        If the archive cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="mml-data-") as folder:
        try:
            if path.name.lower().endswith(".zip"):
                with zipfile.ZipFile(path) as archive:
                    archive.extractall(folder)
            else:
                with tarfile.open(path) as tar:
                    tar.extractall(folder, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, ValueError) as error:
            raise OSError(f"the archive cannot be extracted: {error}") from error
        yield Path(folder)
