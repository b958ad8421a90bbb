"""Compress the bodies of records, optionally."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

from mml_data.store.packs import Record

__all__ = ["COMPRESSIONS", "check_compression", "compressor", "decompressor"]

Codec = Callable[[Record], Record]
"""Function that changes the body of a record."""

COMPRESSIONS = (None, "zstd")
_LEVEL = 3


def check_compression(name: str | None) -> None:
    """Check that a compression is supported and that its library is installed.

    Raises
    ------
    ValueError
        If `name` is not a supported compression.
    ImportError
        If the library of the compression is not installed.
    """
    if name not in COMPRESSIONS:
        raise ValueError(f"compression must be None or 'zstd', got {name!r}")
    if name == "zstd" and find_spec("zstandard") is None:
        raise ImportError(
            "compression='zstd' requires zstandard, which is not installed: pip install 'mml-data[zstd]'"
        )


@cache
def compressor(name: str | None) -> Codec:
    """Return a function that compresses a record. It is shared within a process, and is not thread-safe."""
    check_compression(name)
    if name is None:
        return _same
    import zstandard

    compress = zstandard.ZstdCompressor(level=_LEVEL).compress
    return lambda record: Record(record.layout, compress(record.body))


@cache
def decompressor(name: str | None) -> Codec:
    """Return a function that decompresses a record. It raises ValueError if the record is damaged."""
    check_compression(name)
    if name is None:
        return _same
    import zstandard

    decompress = zstandard.ZstdDecompressor().decompress

    def read(record: Record) -> Record:
        try:
            return Record(record.layout, decompress(record.body))
        except zstandard.ZstdError as error:
            raise ValueError(f"the record cannot be decompressed: {error}") from error

    return read


def _same(record: Record) -> Record:
    return record
