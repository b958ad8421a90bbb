"""Read only those values of a record that a summary needs."""

from collections.abc import Hashable
from typing import Any, NamedTuple

import msgpack
import numpy as np

from mml_data.store.layouts import FLOAT, Key, Layout, open_record
from mml_data.store.packs import Record
from mml_data.store.schema import looks

__all__ = ["Brief", "read_brief"]


class Brief(NamedTuple):
    """Values of a record for a summary.

    Attributes
    ----------
    form
        Layout of the record and types of its other values. Records with the same form have the same keys,
        dtypes and shapes.
    num_atoms
        Number of atoms.
    num_edges
        Number of edges, or None if the sample has no edges.
    sample
        Sample with only ``atomic_numbers``, ``targets`` and, if present, ``target_types``.
    """

    form: Hashable
    num_atoms: int
    num_edges: int | None
    sample: dict[str, Any]


class _Plan(NamedTuple):
    """Places of the values in the records of one layout."""

    numbers: tuple[np.dtype[np.generic], int, tuple[int, ...]]
    num_edges: int | None
    arrays: list[tuple[Key, np.dtype[np.generic], int, tuple[int, ...]]]
    floats: list[tuple[Key, int]]
    values: list[tuple[Key, int]]
    constants: dict[str, Any]


def read_brief(record: Record) -> Brief | None:
    """Read the values of a record for a summary. Return None if it must be decoded completely.

    Raises
    ------
    ValueError
        If the record is invalid.
    """
    return open_record(record, _read)["brief"]


def _read(layout: Layout, buffer: bytearray, start: int, rest: list[Any]) -> dict[str, Any]:
    plan = layout.cache.get("brief", _UNKNOWN)
    if plan is _UNKNOWN:
        plan = layout.cache["brief"] = _plan(layout)
    if plan is None:
        return {"brief": None}
    dtype, offset, shape = plan.numbers
    sample = {"atomic_numbers": np.ndarray(shape, dtype, buffer, start + offset)}
    targets: dict[Key, Any] = {
        key: np.ndarray(shape, dtype, buffer, start + offset) for key, dtype, offset, shape in plan.arrays
    }
    for key, offset in plan.floats:
        (targets[key],) = FLOAT.unpack_from(buffer, start + offset)
    for key, index in plan.values:
        targets[key] = rest[index]
    sample.update(plan.constants)
    sample["targets"] = targets  # type: ignore[assignment]
    form = (layout, *map(_form, rest)) if rest else layout
    return {"brief": Brief(form, shape[0], plan.num_edges, sample)}


_UNKNOWN = object()


def _form(value: Any) -> Any:
    return tuple(looks(value)) if type(value) is dict else type(value)


def _plan(layout: Layout) -> _Plan | None:
    top = {view.key: view for view in layout.views if view.node == 0}
    node = next(
        (n for n, (parent, key, _) in enumerate(layout.nodes, 1) if (parent, key) == (0, "targets")), -1
    )
    nested = any(parent == node for parent, _, _ in layout.nodes)
    numbers = top.get("atomic_numbers")
    if numbers is None or len(numbers.shape) != 1 or numbers.shape[0] == 1 or nested:
        return None
    if node < 0 and any(key == "targets" for _, key, _ in layout.values):
        return None
    edges = next((top[key].shape[0] for key in ("src_nodes", "distances") if key in top), None)
    return _Plan(
        numbers[2:],
        edges,
        [view[1:] for view in layout.views if view.node == node],
        [(key, offset) for number, key, offset in layout.numbers if number == node],
        [(key, index) for number, key, index in layout.values if number == node],
        {str(key): msgpack.unpackb(packed) for number, key, packed in layout.constants if number == 0},
    )
