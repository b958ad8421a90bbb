"""The checksum of a file that is imported."""

import hashlib
from pathlib import Path

__all__ = ["file_checksum"]


def file_checksum(path: Path) -> str:
    """Sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
