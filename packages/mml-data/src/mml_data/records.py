"""Turn a sample into bytes and back, without pickle.

A record is a msgpack header, zero padding to a multiple of eight bytes, then the raw little-endian values
of every array, each aligned to eight bytes. The first four bytes of a record are the length of the header.
In the header an array stands as extension type 1: the msgpack list ``[dtype, offset into the values,
*shape]``.

Decoding takes one copy of the record (out of the memory map, into memory that the caller owns) and makes
every array a view of that copy: aligned and writable, so that a transform may change it in place and torch
may share it.
"""

import struct
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np
import torch

__all__ = ["ARRAY_DTYPES", "decode_record", "encode_record"]

ARRAY_DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64",
)  # fmt: skip
"""Names of the dtypes that an array in a record may have."""

_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ARRAY_DTYPES}
_HEADER = struct.Struct("<I")
_ALIGNMENT = 8
_ARRAY = 1


def encode_record(sample: Mapping[str, Any]) -> bytes:
    """Encode a sample.

    Parameters
    ----------
    sample
        Nested dicts (string keys), lists and tuples (which come back as lists) of arrays, tensors, numbers,
        booleans, strings, bytes and None. Arrays have one of `ARRAY_DTYPES`; numpy scalars come back as
        Python ones.

    Returns
    -------
    bytes
        The record; the same sample always gives the same bytes.

    Raises
    ------
    TypeError
        For a value of another type, naming its key.
    ValueError
        For an integer that does not fit in 64 bits, or text that is not valid unicode.
    """
    arrays: list[bytes] = []
    try:
        header = msgpack.packb(_pack(sample, "", arrays, [0]))
    except UnicodeEncodeError as error:
        raise ValueError(f"the text {error.object!r} is not valid unicode and cannot be stored") from error
    return b"".join([_HEADER.pack(len(header)), header, bytes(_padding(_HEADER.size + len(header))), *arrays])


def decode_record(record: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Decode a record into nested dicts and lists; arrays are numpy views of one copy of `record`.

    Raises
    ------
    ValueError
        Where the bytes are not a record.
    """
    buffer = bytearray(record)
    try:
        (length,) = _HEADER.unpack_from(buffer)
        end = _HEADER.size + length
        if end > len(buffer):
            raise ValueError(f"its header should be {length} bytes long, it has {len(buffer)} in all")
        start = end + _padding(end)

        def unpack_array(code: int, data: bytes) -> Any:
            if code != _ARRAY:
                raise ValueError(f"it holds an unknown extension type {code}")
            dtype, offset, *shape = msgpack.unpackb(data)
            return np.ndarray(tuple(shape), _DTYPES[dtype], buffer, start + offset)

        sample = msgpack.unpackb(memoryview(buffer)[_HEADER.size : end], ext_hook=unpack_array)
    except (struct.error, KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"these bytes are not a record of a sample: {error}") from error
    if not isinstance(sample, dict):
        raise ValueError(f"these bytes are not a record of a sample: they hold a {type(sample).__name__}")
    return sample


def _padding(length: int) -> int:
    return -length % _ALIGNMENT


def _pack(value: Any, key: str, arrays: list[bytes], size: list[int]) -> Any:
    """Replace what msgpack does not know; arrays go to `arrays`, whose total length is ``size[0]``."""
    if isinstance(value, torch.Tensor):
        value = _tensor_to_numpy(value, key)
    if isinstance(value, np.ndarray):
        return _pack_array(value, key, arrays, size)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bytes | bool | float):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{key} is {value}, which does not fit in 64 bits")
        return value
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{key or 'the sample'} has the key {name!r}; keys are strings")
        return {
            name: _pack(item, f"{key}.{name}" if key else name, arrays, size) for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_pack(item, f"{key}[{i}]", arrays, size) for i, item in enumerate(value)]
    raise TypeError(
        f"{key} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored: "
        "give arrays, tensors, numbers, strings, and dicts and lists of those"
    )


def _pack_array(array: np.ndarray, key: str, arrays: list[bytes], size: list[int]) -> msgpack.ExtType:
    if array.dtype.name not in ARRAY_DTYPES:
        raise TypeError(
            f"{key} is an array of {array.dtype}, which cannot be stored: use {', '.join(ARRAY_DTYPES)}"
        )
    data = array.astype(_DTYPES[array.dtype.name], copy=False).tobytes()
    descriptor = msgpack.packb([array.dtype.name, size[0], *array.shape])
    arrays += [data, bytes(_padding(len(data)))]
    size[0] += len(data) + _padding(len(data))
    return msgpack.ExtType(_ARRAY, descriptor)


def _tensor_to_numpy(tensor: torch.Tensor, key: str) -> np.ndarray:
    try:
        return tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{key} is a tensor of {tensor.dtype} ({tensor.layout}), which cannot be stored"
        ) from error
