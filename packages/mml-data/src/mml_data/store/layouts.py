"""Describe the values in the body of a record, and read them."""

import struct
from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import msgpack
import numpy as np

from mml_data.store.packs import Record

__all__ = [
    "ALIGNMENT",
    "CONSTANT",
    "DTYPES",
    "FLOAT",
    "HEADER",
    "LIST",
    "NUMBER",
    "Key",
    "Layout",
    "open_record",
]

DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        "bool", "int8", "int16", "int32", "int64",
        "uint8", "uint16", "uint32", "float16", "float32", "float64",
    )
}  # fmt: skip
"""Dtypes that an array in a record may have, by name."""

LIST, NUMBER, CONSTANT = "", "float", "constant"
"""First items of the entries of a layout that are not arrays."""

HEADER = struct.Struct("<I")
FLOAT = struct.Struct("<d")
ALIGNMENT = 8
_REMEMBERED = 4096

Key = str | int
"""Key in a dict, or index in a list."""

Container = dict[str, None] | list[None]
"""Template of a dict or list."""


class Array(NamedTuple):
    """Position of an array: number of its dict or list, key, dtype, byte offset in the arrays, and shape."""

    node: int
    key: Key
    dtype: np.dtype[np.generic]
    offset: int
    shape: tuple[int, ...]


class Layout:
    """Parsed layout of a record, from which the sample is built.

    Attributes
    ----------
    nodes
        Dicts and lists within the sample: number of the parent, key in the parent, and a template to copy.
        The sample itself has the number 0.
    values
        Values in the rest: number of their dict or list, key in it, and index in the rest.
    numbers
        Numbers: number of their dict or list, key in it, and byte offset in the arrays.
    constants
        Constants: number of their dict or list, key in it, and packed value.
    views
        Positions of the arrays.
    size
        Total size of the arrays in bytes, including padding between them.
    cache
        Conversion plans of `mml_data.store.tensors`, by default dtype.
    """

    def __init__(self, layout: object) -> None:
        if not isinstance(layout, dict):
            raise ValueError(f"the layout must be a map, got {type(layout).__name__}")
        self._template: dict[str, None] = dict.fromkeys(layout)
        self.nodes: list[tuple[int, Key, Container]] = []
        self.values: list[tuple[int, Key, int]] = []
        self.numbers: list[tuple[int, Key, int]] = []
        self.constants: list[tuple[int, Key, bytes]] = []
        self.views: list[Array] = []
        self.size = 0
        self.cache: dict[Any, Any] = {}
        self._read(layout.items(), 0)

    def _read(self, items: Any, node: int) -> None:
        for key, item in items:
            if isinstance(item, int):
                self.values.append((node, key, item))
            elif isinstance(item, dict):
                self.nodes.append((node, key, dict.fromkeys(item)))
                self._read(item.items(), len(self.nodes))
            elif item[0] == LIST:
                self.nodes.append((node, key, [None] * (len(item) - 1)))
                self._read(enumerate(item[1:]), len(self.nodes))
            elif item[0] == CONSTANT:
                self.constants.append((node, key, msgpack.packb(item[1])))
            else:
                name, offset, *shape = item
                if min(offset, *shape, 0) < 0:
                    raise ValueError(f"{key!r} has the offset {offset} and the shape {shape}")
                if name == NUMBER:
                    self.numbers.append((node, key, offset))
                    self.size = max(self.size, offset + FLOAT.size)
                else:
                    array = Array(node, key, DTYPES[name], offset, tuple(shape))
                    self.size = max(self.size, offset + prod(shape) * array.dtype.itemsize)
                    self.views.append(array)

    def build(self, rest: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """Build the sample without numbers and arrays, and return it with a list of its dicts and lists."""
        sample = self._template.copy()
        made: list[Any] = [sample]
        for parent, key, template in self.nodes:
            made[parent][key] = node = template.copy()
            made.append(node)
        for number, key, index in self.values:
            made[number][key] = rest[index]
        for number, key, packed in self.constants:
            made[number][key] = msgpack.unpackb(packed)
        return sample, made


def open_record(
    record: Record, read: Callable[[Layout, bytearray, int, list[Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Copy the body of a record, unless it is a bytearray, and call ``read``.

    Parameters
    ----------
    record
        Record to read.
    read
        Function of the layout, the body, the offset of the arrays in it, and the rest.

    Raises
    ------
    ValueError
        If the record is invalid.
    """
    packed, body = record
    buffer = body if type(body) is bytearray else bytearray(body)
    try:
        (rest_size,) = HEADER.unpack_from(buffer)
        end = HEADER.size + rest_size
        start = end + -end % ALIGNMENT
        layout = _layout(packed)
        if max(end, start + layout.size if layout.size else 0) > len(buffer):
            raise ValueError(f"expected {max(end, start + layout.size)} bytes, got {len(buffer)}")
        rest = msgpack.unpackb(memoryview(buffer)[HEADER.size : end]) if rest_size else []
        return read(layout, buffer, start, rest)
    except (struct.error, IndexError, KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"the record is invalid: {error}") from error


@lru_cache(_REMEMBERED)
def _layout(packed: bytes) -> Layout:
    return Layout(msgpack.unpackb(packed))
