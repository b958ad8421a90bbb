"""Pack records into one value of an LMDB, with each layout stored once.

LMDB stores a value of more than about 2 kB in pages of its own, of 4 kB each. Packing several records into
one value fills these pages. A pack consists of three sections::

    <u4 number of records>
    table: <u4 start> <u4 end> of the body and <u4 start> <u4 end> of the layout of each record
    layouts and bodies of the records

Offsets count from the beginning of the pack.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

__all__ = ["Record", "count_records", "pack_records", "pack_size", "unpack_record", "unpack_records"]

Buffer: TypeAlias = bytes | bytearray | memoryview

_MOST_RECORDS = 64
_MOST_BYTES = 1 << 20
_COUNT = struct.Struct("<I")
_ENTRY = struct.Struct("<IIII")


class Record(NamedTuple):
    """Encoded sample (see `mml_data.store.records`).

    Attributes
    ----------
    layout
        Description of the values in the body. Many records have the same layout.
    body
        Values of the sample. A bytearray is decoded without a copy, so that changes of the decoded arrays
        change it.
    """

    layout: bytes
    body: Buffer


def pack_size(first: Record) -> int:
    """Return the number of records to pack, from the first record of a shard: a power of two up to 64."""
    size = _MOST_RECORDS
    while size > 1 and size * len(first.body) > _MOST_BYTES:
        size //= 2
    return size


def pack_records(records: Sequence[Record]) -> bytes:
    """Pack records. `unpack_records` is the inverse."""
    end = _COUNT.size + len(records) * _ENTRY.size
    layouts = {
        layout: (end, end := end + len(layout)) for layout in dict.fromkeys(layout for layout, _ in records)
    }
    table = [_ENTRY.pack(end, end := end + len(body), *layouts[layout]) for layout, body in records]
    return b"".join([_COUNT.pack(len(records)), *table, *layouts, *(body for _, body in records)])


def unpack_record(pack: Buffer, index: int) -> Record:
    """Return a copy of record `index` of a pack, which must be smaller than the number of records.

    Raises
    ------
    ValueError
        If the pack is invalid.
    """
    view = memoryview(pack)
    try:
        start, end, first, last = _ENTRY.unpack_from(view, _COUNT.size + _ENTRY.size * index)
    except struct.error as error:
        raise ValueError(f"the pack is invalid: {error}") from error
    return Record(bytes(view[first:last]), bytearray(view[start:end]))


def unpack_records(pack: Buffer) -> Iterator[Record]:
    """Yield copies of the records of a pack.

    Raises
    ------
    ValueError
        If the pack is invalid.
    """
    for index in range(count_records(pack)):
        yield unpack_record(pack, index)


def count_records(pack: Buffer) -> int:
    """Return the number of records in a pack.

    Raises
    ------
    ValueError
        If the pack is invalid.
    """
    try:
        (count,) = _COUNT.unpack_from(pack)
    except struct.error as error:
        raise ValueError(f"the pack is invalid: {error}") from error
    return int(count)
