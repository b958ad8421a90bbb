"""Encode a sample as bytes and decode it, without pickle.

A record consists of four sections and padding, in this order::

    <u4 length of the layout> <u4 length of the rest> layout rest padding arrays

The layout, in msgpack, describes the position of every value. It is the same for all samples with the same
keys and shapes. It maps each key to one of: an array ``[dtype, offset, *shape]``; the index of an item of the
rest; a nested map; or a list ``["", item, ...]``. The rest is a msgpack list of all values that contain no
array: numbers, text, and lists and dicts without arrays. The arrays are raw little-endian values, each
aligned to eight bytes of the record.

Decoding copies the record once, from the memory map into memory that the caller owns. Every array is a view
of this copy. It is aligned and writable, so a transform may change it in place and torch may share it. Parsed
layouts are cached.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import msgpack
import numpy as np
from mml_samples import Sample

from mml_data.tensor_type import is_tensor

if TYPE_CHECKING:
    import torch

__all__ = ["ARRAY_DTYPES", "Layout", "decode_record", "decode_sample", "encode_record", "open_record"]

ARRAY_DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64",
)  # fmt: skip
"""Names of the dtypes that an array in a record may have."""

_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ARRAY_DTYPES}
_NAMES = {dtype: name for name, little in _DTYPES.items() for dtype in (little, little.newbyteorder(">"))}
_HEADER = struct.Struct("<II")
_ALIGNMENT = 8
_PADDING = [bytes(-length % _ALIGNMENT) for length in range(_ALIGNMENT)]
_LIST = ""
_REMEMBERED = 4096

Key = str | int
"""Key in a dict, or index in a list."""

Container = dict[str, None] | list[None]
"""Template of a dict or list."""

Item: TypeAlias = "_Plain | int | list[object] | dict[str, Item]"
"""Entry of the layout under construction: index in the rest, array, list, or nested dict."""


def encode_record(sample: Mapping[str, object]) -> bytes:
    """Encode a sample as bytes.

    Parameters
    ----------
    sample
        Nested dicts (with string keys), lists and tuples of arrays, tensors, numbers, booleans, strings,
        bytes and None. Arrays must have one of the dtypes in `ARRAY_DTYPES`. Decoding returns tuples as
        lists, tensors as arrays, and numpy scalars as Python scalars.

    Returns
    -------
    bytes
        Encoded record. The same sample always gives the same bytes.

    Raises
    ------
    TypeError
        If a value has an unsupported type. The message names its key.
    ValueError
        If an integer does not fit into 64 bits, or if text is not valid unicode.
    """
    encoder = _Encoder()
    layout = encoder.node(sample)
    try:
        packed, rest = msgpack.packb(layout), msgpack.packb(encoder.rest)
    except UnicodeEncodeError as error:
        raise ValueError(f"the text {error.object!r} is not valid Unicode and cannot be stored") from error
    end = _HEADER.size + len(packed) + len(rest)
    header = _HEADER.pack(len(packed), len(rest))
    return b"".join([header, packed, rest, _PADDING[end % _ALIGNMENT], *encoder.arrays])


def decode_sample(record: bytes | bytearray | memoryview) -> Sample:
    """Decode the record of a sample. Arrays are numpy views of one copy of `record`.

    Raises
    ------
    ValueError
        If the bytes are not a valid record.
    """
    return cast("Sample", decode_record(record))


def decode_record(record: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Decode a record into nested dicts and lists. Arrays are numpy views of one copy of `record`.

    Raises
    ------
    ValueError
        If the bytes are not a valid record.
    """
    return open_record(record, lambda layout, buffer, start, rest: layout.arrays(buffer, start, rest))


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
        Values that are not arrays: number of their dict or list, key in it, and index in the rest.
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
            elif item[0] == _LIST:
                self.nodes.append((node, key, [None] * (len(item) - 1)))
                self._read(enumerate(item[1:]), len(self.nodes))
            else:
                name, offset, *shape = item
                array = Array(node, key, _DTYPES[name], offset, tuple(shape))
                if min(offset, *shape, 0) < 0:
                    raise ValueError(f"array {key!r} has the offset {offset} and the shape {shape}")
                self.size = max(self.size, offset + prod(shape) * array.dtype.itemsize)
                self.views.append(array)

    def build(self, rest: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """Build the sample without its arrays, and return it with a list of its dicts and lists by number."""
        sample = self._template.copy()
        made: list[Any] = [sample]
        for parent, key, template in self.nodes:
            made[parent][key] = node = template.copy()
            made.append(node)
        for number, key, index in self.values:
            made[number][key] = rest[index]
        return sample, made

    def arrays(self, buffer: bytearray, start: int, rest: list[Any]) -> dict[str, Any]:
        """Return the sample with arrays that are views of `buffer`. The arrays begin at offset `start`."""
        sample, made = self.build(rest)
        for node, key, dtype, offset, shape in self.views:
            made[node][key] = np.ndarray(shape, dtype, buffer, start + offset)
        return sample


def open_record(
    record: bytes | bytearray | memoryview,
    read: Callable[[Layout, bytearray, int, list[Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Copy a record and call ``read(layout, copy, start of the arrays, rest)``.

    Raises
    ------
    ValueError
        If the bytes are not a valid record.
    """
    buffer = bytearray(record)
    try:
        layout_size, rest_size = _HEADER.unpack_from(buffer)
        middle = _HEADER.size + layout_size
        end = middle + rest_size
        if end > len(buffer):
            raise ValueError(f"expected at least {end} bytes, got {len(buffer)}")
        layout = _layout(bytes(memoryview(buffer)[_HEADER.size : middle]))
        start = end + -end % _ALIGNMENT
        if start + layout.size > len(buffer) and layout.size:
            raise ValueError(f"expected {start + layout.size} bytes, got {len(buffer)}")
        return read(layout, buffer, start, msgpack.unpackb(memoryview(buffer)[middle:end]))
    except (struct.error, IndexError, KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"the record is invalid: {error}") from error


@lru_cache(_REMEMBERED)
def _layout(packed: bytes) -> Layout:
    return Layout(msgpack.unpackb(packed))


class _Plain(NamedTuple):
    """Value without arrays, as passed to msgpack."""

    value: object


class _Encoder:
    """Encoder that separates a sample into its layout, the rest and its arrays.

    Attributes
    ----------
    arrays
        Raw bytes of the arrays and their padding.
    rest
        Values that contain no array.
    """

    def __init__(self) -> None:
        self.arrays: list[bytes] = []
        self.rest: list[object] = []
        self._size = 0

    def node(self, sample: Mapping[str, object]) -> dict[str, Item]:
        """Return the layout of a sample, and collect its arrays and its rest."""
        return self._items(self._values(sample, ""))

    def _values(self, given: Mapping[str, object], key: str) -> dict[str, Item]:
        for name in given:
            if not isinstance(name, str):
                raise TypeError(f"keys of {key or 'the sample'} must be strings, got {name!r}")
        prefix = f"{key}." if key else ""
        return {name: self._value(value, prefix + name) for name, value in given.items()}

    def _items(self, values: Mapping[str, Item]) -> dict[str, Item]:
        return {name: self._item(value) for name, value in values.items()}

    def _item(self, value: Item) -> Item:
        if not isinstance(value, _Plain):
            return value
        self.rest.append(value.value)
        return len(self.rest) - 1

    def _value(self, value: object, key: str) -> Item:
        """Return `_Plain` for a value without arrays, otherwise the item of the layout for the value."""
        if isinstance(value, np.ndarray):
            return self._array(value, key)
        if value is None or isinstance(value, (str, bytes, bool, float)):
            return _Plain(value)
        if is_tensor(value):
            return self._array(_tensor_to_numpy(value, key), key)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, (bool, float, bytes, str)):
            return _Plain(value)
        if isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"{key} must fit into 64 bits, got {value}")
            return _Plain(value)
        if isinstance(value, Mapping):
            values = self._values(value, key)
            plain = {name: item.value for name, item in values.items() if isinstance(item, _Plain)}
            if len(plain) == len(values):
                return _Plain(plain)
            return self._items(values)
        if isinstance(value, (list, tuple)):
            listed = [self._value(item, f"{key}[{i}]") for i, item in enumerate(value)]
            plain_items = [item.value for item in listed if isinstance(item, _Plain)]
            if len(plain_items) == len(listed):
                return _Plain(plain_items)
            return [_LIST, *map(self._item, listed)]
        raise TypeError(
            f"{key} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored; "
            "use arrays, tensors, numbers, strings, and dicts and lists of these"
        )

    def _array(self, array: np.ndarray, key: str) -> list[object]:
        name = _NAMES.get(array.dtype)
        if name is None:
            raise TypeError(
                f"{key} is an array of {array.dtype}, which cannot be stored; use {', '.join(ARRAY_DTYPES)}"
            )
        data = array.astype(_DTYPES[name], copy=False).tobytes()
        padding = _PADDING[len(data) % _ALIGNMENT]
        self.arrays += (data, padding)
        offset, self._size = self._size, self._size + len(data) + len(padding)
        return [name, offset, *array.shape]


def _tensor_to_numpy(tensor: "torch.Tensor", key: str) -> np.ndarray:
    try:
        return tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{key} is a tensor of {tensor.dtype} ({tensor.layout}), which cannot be stored; convert it"
        ) from error
