"""Where a task's normalisers get their numbers: from ``normalize_kwargs``, or from the data's statistics."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scale:
    """Numbers of one target's normaliser; ``None`` where they were not given."""

    mean: float | None = None
    std: float | None = None
    per_atom: bool = False


def scales_from_kwargs(
    kwargs: Mapping[str, float], keys: Collection[str], extensive_keys: Collection[str] = ()
) -> dict[str, Scale]:
    """Sort ``{"energy_mean": ..., "force_std": ...}`` by target.

    Parameters
    ----------
    kwargs
        ``<key>_mean`` and ``<key>_std``; for extensive targets also ``<key>_per_atom_mean`` and
        ``<key>_per_atom_std``.
    keys
        The targets that may be named.
    extensive_keys
        Those of them that grow with the number of atoms.

    Raises
    ------
    ValueError
        If a name is not one of these (the known ones are listed), or if a mean or a standard deviation is
        given both for the total and per atom.
    """
    slots: dict[str, tuple[str, str, bool]] = {}
    for key in sorted(keys):
        for field in ("mean", "std"):
            slots[f"{key}_{field}"] = (key, field, False)
            if key in extensive_keys:
                slots[f"{key}_per_atom_{field}"] = (key, field, True)
    unknown = sorted(set(kwargs) - set(slots))
    if unknown:
        raise ValueError(f"normalize_kwargs has unknown names {unknown}; known are {sorted(slots)}")
    found: dict[str, dict[str, Any]] = {}
    for name, value in kwargs.items():
        key, field, per_atom = slots[name]
        numbers = found.setdefault(key, {})
        if field in numbers:
            raise ValueError(
                f"normalize_kwargs gives {key}_{field} twice, for the total and per atom: keep one"
            )
        numbers[field] = _number(name, value)
        if field == "mean":
            numbers["per_atom"] = per_atom
    return {key: Scale(**numbers) for key, numbers in found.items()}


def scale_from_statistics(key: str, statistics: Mapping[str, Any], per_atom: bool = False) -> Scale:
    """Mean and standard deviation of one target, per atom if asked.

    Raises
    ------
    ValueError
        If the statistics lack a number, or hold an array where a number is needed.
    """
    prefix = "per_atom_" if per_atom else ""
    values = {}
    for field in ("mean", "std"):
        name = prefix + field
        if name not in statistics:
            raise ValueError(
                f'normalize_kwargs="auto" needs {name!r} of target {key!r}, but the data module only knows '
                f"{sorted(statistics)}: give the numbers in normalize_kwargs"
            )
        values[field] = _number(f"{key} {name}", statistics[name])
    return Scale(values["mean"], values["std"], per_atom)


def rms_from_statistics(statistics: Mapping[str, Any]) -> float | None:
    """Root mean square over all components, or ``None`` where the statistics have none."""
    rms = statistics.get("rms")
    if rms is None:
        return None
    values = _flatten(rms)
    return math.sqrt(sum(value * value for value in values) / len(values))


def _flatten(value: Any) -> list[float]:
    if isinstance(value, (list, tuple)):
        return [number for item in value for number in _flatten(item)]
    return [float(value)]


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"normalisation takes one number for {name}, got {value!r}") from None
