"""Add the kind, the unit, the shape and the class names of each target to its statistics."""

from collections.abc import Mapping
from typing import Any

__all__ = ["with_target_facts"]


def with_target_facts(
    statistics: Mapping[str, Mapping[str, Any]], schema: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the statistics of targets with what the schema of the data set states about them.

    Parameters
    ----------
    statistics
        Statistics by target.
    schema
        Schema of the data set, see `mml_data.Manifest`. A target that it does not contain is not changed.

    Returns
    -------
    dict
        Statistics by target with ``kind``, ``unit``, ``shape``, and ``class_names`` if the classes have
        names, as far as they are known.
    """
    found = {}
    for name, numbers in statistics.items():
        entry = schema.get(f"targets.{name}", {})
        facts = {
            "kind": entry.get("kind") or _kind_of(numbers, entry.get("shape")),
            "unit": entry.get("unit", entry.get("units")),
            "shape": entry.get("shape"),
            "class_names": entry.get("class_names"),
        }
        known = {key: value for key, value in facts.items() if value is not None}
        found[name] = {**numbers, **known}
    return found


def _kind_of(numbers: Mapping[str, Any], shape: list[Any] | None) -> str | None:
    """Return the kind of a target of a data set that does not record kinds, or None if it is not clear."""
    if "classes" in numbers:
        return "class"
    if "per_atom_mean" in numbers or not shape:
        return "scalar" if "per_atom_mean" in numbers else None
    if shape[0] == "N":
        return "per_atom"
    kinds = {(1, 3): "vector", (1, 3, 3): "tensor"}
    return kinds.get(tuple(shape), "spectrum" if len(shape) == 2 and shape[0] == 1 else None)
