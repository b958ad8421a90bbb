"""Compute the checksum of an imported file."""

import hashlib
from pathlib import Path

__all__ = ["file_checksum"]


def file_checksum(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
