"""Encode a sample as a layout and a body, and decode it, without pickle.

The layout, in msgpack, describes the position of every value. It is the same for all samples with the same
keys and shapes, and is stored once for many records (see `mml_data.store.packs`). It maps each key to one of:
an array ``[dtype, offset, *shape]``; a number ``["float", offset]``; the index of an item of the rest; a
constant ``["constant", value]``; a nested map; or a list ``["", item, ...]``.

The body consists of three sections and padding, in this order::

    <u4 length of the rest> rest padding arrays

The rest is a msgpack list of all other values that contain no array: integers, text, and lists and dicts
without arrays. It is absent if there are none. The arrays are raw little-endian values, each aligned to eight
bytes of the body. Numbers, as float64, precede them.

Decoding copies the body once, from the memory map into memory that the caller owns. Every array is a view of
this copy. It is aligned and writable, so a transform may change it in place and torch may share it. Layouts
are cached, both parsed ones and those of encoded samples.
"""

import struct
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgpack
import numpy as np
from mml_samples import Sample

from mml_data.store.layouts import (
    ALIGNMENT,
    CONSTANT,
    DTYPES,
    FLOAT,
    HEADER,
    LIST,
    NUMBER,
    Layout,
    open_record,
)
from mml_data.store.packs import Record
from mml_data.tensor_type import is_tensor

if TYPE_CHECKING:
    import torch

__all__ = ["ARRAY_DTYPES", "decode_record", "decode_sample", "encode_record"]

ARRAY_DTYPES = tuple(DTYPES)
"""Names of the dtypes that an array in a record may have."""

_NAMES = {dtype: name for name, little in DTYPES.items() for dtype in (little, little.newbyteorder(">"))}
_LITTLE = frozenset(DTYPES.values())
_PADDING = [bytes(-length % ALIGNMENT) for length in range(ALIGNMENT)]
_CONSTANT_KEY = "target_types"  # the same in all samples of a data set
_REMEMBERED = 4096


def decode_sample(record: Record) -> Sample:
    """Decode the record of a sample. Arrays are numpy views of one copy of the body.

    Raises
    ------
    ValueError
        If the record is invalid.
    """
    return cast("Sample", decode_record(record))


def decode_record(record: Record) -> dict[str, Any]:
    """Decode a record into nested dicts and lists. Arrays are numpy views of one copy of the body.

    Raises
    ------
    ValueError
        If the record is invalid.
    """
    return open_record(record, _as_arrays)


def _as_arrays(layout: Layout, buffer: bytearray, start: int, rest: list[Any]) -> dict[str, Any]:
    sample, made = layout.build(rest)
    for node, key, offset in layout.numbers:
        (made[node][key],) = FLOAT.unpack_from(buffer, start + offset)
    for node, key, dtype, offset, shape in layout.views:
        made[node][key] = np.ndarray(shape, dtype, buffer, start + offset)
    return sample


def encode_record(sample: Mapping[str, object]) -> Record:
    """Encode a sample.

    Parameters
    ----------
    sample
        Nested dicts (with string keys), lists and tuples of arrays, tensors, numbers, booleans, strings,
        bytes and None. Arrays must have one of the dtypes in `ARRAY_DTYPES`. Decoding returns tuples as
        lists, tensors as arrays, and numpy scalars as Python scalars.

    Returns
    -------
    Record
        Encoded record. The same sample always gives the same bytes.

    Raises
    ------
    TypeError
        If a value has an unsupported type. The message names its key.
    ValueError
        If an integer does not fit into 64 bits, or if text is not valid unicode.
    """
    values = _Values()
    signature = values.entries(sample, "")
    known = _layouts.get(signature)
    try:
        if known is None:
            if len(_layouts) >= _REMEMBERED:
                _layouts.clear()
            known = _layouts[signature] = _pack_layout(signature)
        rest = msgpack.packb(values.rest) if values.rest else b""
    except UnicodeEncodeError as error:
        raise ValueError(f"the text {error.object!r} is not valid Unicode and cannot be stored") from error
    packed, paddings, floats = known
    pieces: list[Any] = [
        HEADER.pack(len(rest)),
        rest,
        _PADDING[(HEADER.size + len(rest)) % ALIGNMENT],
        floats.pack(*values.numbers),
    ]
    for array, padding in zip(values.arrays, paddings, strict=True):
        pieces.append(array)
        pieces.append(padding)
    return Record(packed, b"".join(pieces))


_Signature: TypeAlias = tuple[Any, ...]
_PLAIN, _ARRAY = 0, 1
_SIMPLE = frozenset({type(None), str, bytes, bool, float})

# Signature of a sample to its packed layout, the padding after each array, and the packer of its numbers.
_layouts: dict[_Signature, tuple[bytes, list[bytes], struct.Struct]] = {}


class _Values:
    """Values of a sample, in the order of its signature.

    The signature is a nested tuple of keys and descriptions of their values: `_PLAIN` for an item of the
    rest, ``(_ARRAY, dtype, shape)``, or a tuple whose first item is `LIST`, `NUMBER`, `CONSTANT` or
    ``dict``.

    Attributes
    ----------
    arrays
        C-contiguous little-endian arrays.
    numbers
        Numbers that are stored as float64.
    rest
        Values that contain no array.
    """

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.numbers: list[float] = []
        self.rest: list[object] = []

    def entries(self, given: Mapping[str, object], key: str) -> _Signature:
        """Return the signature of a dict whose values are stored one by one."""
        signature: list[Any] = [dict]
        for name, value in given.items():
            kind = type(value)
            if kind is np.ndarray:
                signature += (name, self._array(cast("np.ndarray", value), key, name))
            elif kind is float and type(name) is str:
                signature += (name, (NUMBER,))
                self.numbers.append(cast("float", value))
            else:
                self._other(signature, name, value, key)
        return tuple(signature)

    def _other(self, signature: list[Any], name: object, value: object, key: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"keys of {key or 'the sample'} must be strings, got {name!r}")
        path = f"{key}.{name}" if key else name
        value = _plain(value, path)
        signature.append(name)
        if not key and name == _CONSTANT_KEY and not _has_arrays(value):
            signature.append((CONSTANT, msgpack.packb(value)))
        elif not key and name == "targets" and isinstance(value, dict):
            signature.append(self.entries(value, path))
        else:
            signature.append(self._item(value, path))

    def _item(self, value: Any, path: str) -> Any:
        if isinstance(value, np.ndarray):
            return self._array(value, path, "")
        if not _has_arrays(value):
            self.rest.append(value)
            return _PLAIN
        if isinstance(value, dict):
            return self.entries(value, path)
        return (LIST, *(self._item(item, f"{path}[{i}]") for i, item in enumerate(value)))

    def _array(self, array: np.ndarray, key: str, name: str) -> _Signature:
        dtype = array.dtype
        if dtype in _LITTLE and array.flags.c_contiguous:
            self.arrays.append(array)
            return _ARRAY, dtype, array.shape
        if dtype not in _NAMES:
            path = f"{key}.{name}" if key and name else key or name
            raise TypeError(
                f"{path} is an array of {dtype}, which cannot be stored; use {', '.join(ARRAY_DTYPES)}"
            )
        dtype = dtype.newbyteorder("<")
        self.arrays.append(np.ascontiguousarray(array, dtype).reshape(array.shape))
        return _ARRAY, dtype, array.shape


def _pack_layout(signature: _Signature) -> tuple[bytes, list[bytes], struct.Struct]:
    """Return the packed layout of a signature, the padding after each array, and the packer of numbers."""
    paddings: list[bytes] = []
    num_floats = _count_numbers(signature)
    size = num_floats * FLOAT.size
    num_rest = num_numbers = 0

    def item(entry: Any) -> Any:
        nonlocal size, num_rest, num_numbers
        if entry == _PLAIN:
            num_rest += 1
            return num_rest - 1
        match entry[0]:
            case _ if entry[0] is dict:
                return {name: item(value) for name, value in zip(entry[1::2], entry[2::2], strict=True)}
            case "":
                return [LIST, *map(item, entry[1:])]
            case "float":
                num_numbers += 1
                return [NUMBER, (num_numbers - 1) * FLOAT.size]
            case "constant":
                return [CONSTANT, msgpack.unpackb(entry[1])]
        _, dtype, shape = entry
        offset, length = size, prod(shape) * dtype.itemsize
        paddings.append(_PADDING[length % ALIGNMENT])
        size += length + len(paddings[-1])
        return [_NAMES[dtype], offset, *shape]

    return msgpack.packb(item(signature)), paddings, struct.Struct(f"<{num_floats}d")


def _count_numbers(entry: Any) -> int:
    if entry == (NUMBER,):
        return 1
    return sum(map(_count_numbers, entry)) if isinstance(entry, tuple) else 0


def _has_arrays(value: object) -> bool:
    kind = type(value)
    if kind is dict:
        value = cast("dict[str, object]", value).values()
    elif kind is not list:
        return kind is np.ndarray
    return any(type(item) not in _SIMPLE and _has_arrays(item) for item in cast("list[object]", value))


def _plain(value: Any, key: str) -> Any:
    """Return a value with tensors as arrays, tuples as lists, mappings as dicts and scalars of Python."""
    kind = type(value)
    if kind in _SIMPLE or kind is np.ndarray:
        return value
    if kind is dict or isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"keys of {key} must be strings, got {name!r}")
        return {
            name: item if type(item) in _SIMPLE else _plain(item, f"{key}.{name}")
            for name, item in value.items()
        }
    if kind is list or kind is tuple or isinstance(value, (list, tuple)):
        return [
            item if type(item) in _SIMPLE else _plain(item, f"{key}[{i}]") for i, item in enumerate(value)
        ]
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{key} must fit into 64 bits, got {value}")
        return value
    if isinstance(value, (str, bytes, float)):  # includes NumPy's subclasses
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic):
        return _plain(value.item(), key)
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if is_tensor(value):
        return _tensor_to_numpy(value, key)
    raise TypeError(
        f"{key} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored; "
        "use arrays, tensors, numbers, strings, and dicts and lists of these"
    )


def _tensor_to_numpy(tensor: "torch.Tensor", key: str) -> np.ndarray:
    try:
        return tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{key} is a tensor of {tensor.dtype} ({tensor.layout}), which cannot be stored; convert it"
        ) from error
