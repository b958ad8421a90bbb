"""Decode a record directly into a sample of tensors."""

from typing import Any, TypeAlias, cast

import numpy as np
import torch
from mml_samples import GEOMETRY_KEYS, Sample

from mml_data.store.layouts import Key, Layout, open_record
from mml_data.store.packs import Record

__all__ = ["read_tensors", "to_tensor"]

DType: TypeAlias = np.dtype[np.generic]

_FLOATS: dict[torch.dtype, DType] = {
    torch.float16: np.dtype(np.float16),
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
}
_INT64: DType = np.dtype(np.int64)
_FLOAT64: DType = np.dtype(np.float64)


def read_tensors(record: Record) -> Sample:
    """Decode a record into tensors. Tensors whose dtype does not change are views of one copy of its body.

    Integers become int64. Floats under ``targets`` become float64, independent of torch's default dtype.
    Other floats become the default dtype, except positions and lattices, which keep the dtype in which they
    are stored. Numbers under ``targets`` become tensors without dimensions.

    Raises
    ------
    ValueError
        If the record is invalid.
    """
    return cast("Sample", open_record(record, _tensors))


def to_tensor(value: Any, is_target: bool) -> torch.Tensor:
    """Convert a number or an array to a tensor, with the dtype that `read_tensors` gives it."""
    array = np.asarray(value)
    dtype = _dtype("", array.dtype, torch.get_default_dtype(), is_target=is_target)
    return torch.from_numpy(array.astype(dtype))


def _tensors(layout: Layout, buffer: bytearray, start: int, rest: list[Any]) -> dict[str, Any]:
    default = torch.get_default_dtype()
    plan = layout.cache.get(default) or layout.cache.setdefault(default, _plan(layout, default))
    views, narrowed, values, numbers = plan
    sample, made = layout.build(rest)
    from_numpy, new = torch.from_numpy, np.ndarray
    for node, key, dtype, offset, shape, wanted in views:
        array = new(shape, dtype, buffer, start + offset)
        made[node][key] = from_numpy(array if wanted is None else array.astype(wanted))
    if narrowed:
        with np.errstate(over="ignore"):  # values that are too large become infinite, as in torch
            for node, key, dtype, offset, shape, wanted in narrowed:
                array = new(shape, dtype, buffer, start + offset)
                made[node][key] = from_numpy(array.astype(wanted))
    for node, key, offset, is_target in numbers:
        array = new((), _FLOAT64, buffer, start + offset)
        made[node][key] = from_numpy(array) if is_target else array.item()
    for node, key, index in values:
        value = rest[index]
        if isinstance(value, int) and not isinstance(value, bool):
            made[node][key] = from_numpy(np.array(value, _INT64))
        else:
            made[node][key] = _numbers_to_torch(value)
    return sample


def _plan(layout: Layout, default: torch.dtype) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """Plan the conversion of each array and number.

    Returns
    -------
    tuple
        Arrays with the dtype to convert to (None to keep the stored one), arrays that are converted to a
        smaller dtype, values of the rest under ``targets``, and numbers with whether they are under
        ``targets``.
    """
    targets = _nodes_of_targets(layout)
    views = []
    for view in layout.views:
        is_target = view.node in targets or (view.node == 0 and view.key == "targets")
        wanted = _dtype(view.key, view.dtype, default, is_target=is_target)
        views.append((*view, None if wanted == view.dtype else wanted))
    values = [
        value for value in layout.values if value[0] in targets or (value[0] == 0 and value[1] == "targets")
    ]
    numbers = [(*number, number[0] in targets) for number in layout.numbers]
    narrowed = [view for view in views if view[5] is not None and view[5].itemsize < view[2].itemsize]
    return [view for view in views if view not in narrowed], narrowed, values, numbers


def _dtype(key: Key, stored: DType, default: torch.dtype, *, is_target: bool) -> DType:
    if stored.kind in "iu":
        return _INT64
    if stored.kind == "f" and is_target:
        return _FLOAT64  # rounding a label before its reference energy is subtracted would lose digits
    if stored.kind == "b" or key in GEOMETRY_KEYS:
        return stored.newbyteorder("=")
    return _float(default)


def _float(dtype: torch.dtype) -> DType:
    return _FLOATS.get(dtype, _FLOATS[torch.float32])


def _nodes_of_targets(layout: Layout) -> set[int]:
    """Return the numbers of the dict under ``targets`` and of all dicts and lists within it."""
    found: set[int] = set()
    for number, (parent, key, _) in enumerate(layout.nodes, 1):
        if parent in found or (parent == 0 and key == "targets"):
            found.add(number)
    return found


def _numbers_to_torch(value: object) -> object:
    if isinstance(value, dict):
        return {name: _numbers_to_torch(item) for name, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_numbers_to_torch(item) for item in value]
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    return torch.tensor(value) if isinstance(value, int) else value
