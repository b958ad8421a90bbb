"""The file that is imported."""

import hashlib
from pathlib import Path

__all__ = ["existing_file", "file_checksum"]


def existing_file(path: str | Path) -> Path:
    """Return `path` if it is a file.

    Raises
    ------
    FileNotFoundError
        Where there is nothing.
    ValueError
        Where there is a directory.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r} to import")
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a directory: give a file to import")
    return path


def file_checksum(path: Path) -> str:
    """Sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
