"""Open files in the folder of a run, which may be compressed."""

import bz2
import gzip
import lzma
from pathlib import Path
from typing import IO

__all__ = ["COMPRESSIONS", "opened", "uncompressed_name"]

COMPRESSIONS = (".gz", ".bz2", ".xz")


def opened(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, and decompress it according to its suffix."""
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opener = openers.get(path.suffix.lower())
    return opener(path, "rb") if opener is not None else path.open("rb")  # type: ignore[operator]


def uncompressed_name(name: str) -> str:
    """Return the name of a file without the suffix of a compression."""
    return next((name[: -len(suffix)] for suffix in COMPRESSIONS if name.lower().endswith(suffix)), name)
