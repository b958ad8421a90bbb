"""Read the statistics of a task's normalizers from ``normalize_kwargs`` or from those of the data."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

from mml_samples import SYMBOLS, atomic_number

from mml_tasks.protocols import Statistics

Number: TypeAlias = float | list[Any]
"""One number, or nested lists of numbers in the shape of a target's components."""

_OPTIONS = ("auto", "override", "max_samples")


@dataclass(frozen=True)
class Scale:
    """Statistics of one target's normalizer; ``None`` for values that were not given.

    Parameters
    ----------
    mean, std
        Shift and scale: one number, or one per component.
    per_atom
        Whether ``mean`` is multiplied by the number of atoms of a structure.
    references
        Energy of an atom of each element by atomic number. Their sum over a structure is the shift, instead
        of ``mean``. ``"auto"`` uses the reference energies of the data.
    source
        Description of the source of the statistics.
    count
        Number of labels from which the statistics were computed.
    """

    mean: Number | None = None
    std: Number | None = None
    per_atom: bool = False
    references: dict[int, float] | Literal["auto"] | None = None
    source: str = "normalize_kwargs"
    count: int | None = None

    def updated(self, given: Scale) -> Scale:
        """Return these statistics, updated with those of ``given``.

        A mean replaces reference energies, and vice versa, because each is a complete shift.
        """
        changes: dict[str, Any] = {}
        if given.mean is not None:
            changes |= {"mean": given.mean, "per_atom": given.per_atom, "references": None}
        if given.references is not None:
            changes |= {"mean": None, "per_atom": False, "references": given.references}
        if given.std is not None:
            changes["std"] = given.std
        own = {
            f.name for f in fields(self) if f.name in ("mean", "std") and getattr(self, f.name) is not None
        }
        if changes and not own <= set(changes):
            changes["source"] = f"normalize_kwargs and {self.source}"
        elif changes:
            changes |= {"source": given.source, "count": given.count}
        return replace(self, **changes)


@dataclass(frozen=True)
class NormalizeOptions:
    """Parsed form of ``normalize_kwargs``.

    Parameters
    ----------
    numbers
        Statistics of single targets; see `scales_from_kwargs`.
    auto
        Whether the remaining statistics are computed from the data.
    override
        Whether these statistics replace different ones in a checkpoint.
    max_samples
        Maximum number of structures in a pass over the training data.
    """

    numbers: dict[str, object] = field(default_factory=dict)
    auto: bool = False
    override: bool = False
    max_samples: int = 100_000

    @classmethod
    def of(cls, normalize_kwargs: object) -> NormalizeOptions:
        """Parse ``normalize_kwargs``.

        Raises
        ------
        ValueError
            If it is neither a dict, ``"auto"`` nor ``None``, or an option has an invalid value.
        """
        if normalize_kwargs is None:
            return cls()
        if isinstance(normalize_kwargs, str) and normalize_kwargs == "auto":
            return cls(auto=True)
        if not isinstance(normalize_kwargs, Mapping):
            raise ValueError(f'normalize_kwargs must be a dict, "auto" or None, got {normalize_kwargs!r}')
        options = {key: value for key, value in normalize_kwargs.items() if key in _OPTIONS}
        for key in ("auto", "override"):
            if not isinstance(options.get(key, False), bool):
                raise ValueError(f"normalize_kwargs[{key!r}] must be True or False, got {options[key]!r}")
        limit = options.get("max_samples", 1)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError(f"normalize_kwargs['max_samples'] must be a positive integer, got {limit!r}")
        return cls({key: v for key, v in normalize_kwargs.items() if key not in _OPTIONS}, **options)


def scales_from_kwargs(
    kwargs: Mapping[str, object], keys: Collection[str], extensive_keys: Collection[str] = ()
) -> dict[str, Scale]:
    """Group ``{"energy_mean": ..., "force_std": ...}`` by target.

    Parameters
    ----------
    kwargs
        ``<key>_mean`` and ``<key>_std``, numbers or arrays in the shape of the target's components. Extensive
        targets also accept ``<key>_per_atom_mean``, ``<key>_per_atom_std``, and ``<key>_reference``: a dict
        from element, as symbol or atomic number, to the energy of its atom, or ``"auto"``.
    keys
        The targets that ``kwargs`` may name.
    extensive_keys
        Targets among ``keys`` that grow with the number of atoms.

    Raises
    ------
    ValueError
        If ``kwargs`` contains an unknown name (the message lists the known ones), a value is not a number, or
        a shift or a scale is given twice.
    """
    slots: dict[str, tuple[str, str, bool]] = {}
    for key in sorted(keys):
        for name in ("mean", "std"):
            slots[f"{key}_{name}"] = (key, name, False)
            if key in extensive_keys:
                slots[f"{key}_per_atom_{name}"] = (key, name, True)
        if key in extensive_keys:
            slots[f"{key}_reference"] = (key, "references", False)
    unknown = sorted(set(kwargs) - set(slots))
    if unknown:
        raise ValueError(
            f"normalize_kwargs has unknown names {unknown}, expected some of {sorted([*slots, *_OPTIONS])}"
        )
    found: dict[str, dict[str, Any]] = {}
    for name, value in kwargs.items():
        key, slot, per_atom = slots[name]
        numbers = found.setdefault(key, {})
        if slot in numbers:
            raise ValueError(
                f"normalize_kwargs has {key}_{slot} both in total and per atom. Remove one of them"
            )
        if slot == "references":
            numbers[slot] = value if value == "auto" else references_of(name, value)
            continue
        numbers[slot] = number(name, value, arrays=key not in extensive_keys)
        if slot == "mean":
            numbers["per_atom"] = per_atom
    for key, numbers in found.items():
        if numbers.get("mean") is not None and numbers.get("references") is not None:
            raise ValueError(
                f"normalize_kwargs has both a mean and reference energies of {key}, but each is a complete "
                "shift. Remove one of them"
            )
    return {key: Scale(**numbers) for key, numbers in found.items()}


def scale_from_statistics(
    key: str, statistics: Statistics, per_atom: bool = False, references: bool = False
) -> Scale:
    """Return the scale of one target from its statistics, per atom or with reference energies if requested.

    Raises
    ------
    ValueError
        If the statistics lack a required value or contain an invalid one.
    """
    prefix = "per_atom_" if per_atom else ""
    values = {}
    for name in ("mean", "std"):
        if prefix + name not in statistics:
            if statistics.get("missing") and not statistics.get("count"):
                raise ValueError(
                    f"target {key!r} is missing in every sample of the training data. Remove it from "
                    "task_keys, or add labels"
                )
            raise ValueError(
                f'normalize_kwargs="auto" needs {prefix + name!r} of target {key!r}, but the data module '
                f"provides only {sorted(statistics)}. Pass the statistics in normalize_kwargs"
            )
        values[name] = number(f"{key} {prefix}{name}", statistics[prefix + name], arrays=not per_atom)
    scale = Scale(values["mean"], values["std"], per_atom, **provenance(statistics))
    if not references:
        return scale
    energies = references_of(f"{key} reference_energies", statistics["reference_energies"])
    # Standard deviation of the energy per atom after subtraction of the references, if available.
    std = statistics.get("per_atom_residual_std") or values["std"]
    return replace(scale, mean=None, std=std, per_atom=False, references=energies)


def provenance(statistics: Statistics) -> dict[str, Any]:
    """Return ``source`` and ``count`` of a `Scale` from the statistics of a target."""
    source = statistics.get("source", "the data module's target_statistics()")
    return {"source": str(source), "count": statistics.get("count")}


def rms_from_statistics(statistics: Statistics) -> float | None:
    """Return the root mean square over all components, or ``None`` if the statistics do not contain it."""
    rms = statistics.get("rms")
    if rms is None:
        return None
    values = flatten(rms)
    return math.sqrt(sum(value * value for value in values) / len(values))


def references_of(name: str, value: object) -> dict[int, float]:
    """Return reference energies by atomic number, from a dict by symbol or atomic number.

    Raises
    ------
    ValueError
        If ``value`` is not a dict or is empty, names an unknown element or one element twice, or contains an
        energy that is not a finite number.
    """
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f'{name} must be "auto" or a dict such as {{"Al": -3.7}}, in eV, got {value!r}')
    found = {
        atomic_number(element): number(f"{name}[{element!r}]", energy) for element, energy in value.items()
    }
    if len(found) < len(value):
        raise ValueError(f"{name} has the same element by symbol and by number: {sorted(value, key=str)}")
    for element, energy in found.items():
        if not math.isfinite(energy):  # type: ignore[arg-type]
            raise ValueError(f"{name} of {SYMBOLS[element]} must be finite, got {energy}")
    return found  # type: ignore[return-value]


def number(name: str, value: Any, arrays: bool = False) -> Number:
    """Return a plain number, or nested lists of numbers if ``arrays`` is True.

    Raises
    ------
    ValueError
        If ``value`` is not a number; with ``arrays``, if it is neither a number nor an array of numbers.
    """
    if hasattr(value, "tolist"):  # NumPy and torch arrays and scalars
        value = value.tolist()
    try:
        if isinstance(value, (list, tuple)) and arrays:
            return [number(name, item, arrays=True) for item in value]
        return float(value)
    except (TypeError, ValueError):
        what = "a number or an array in the shape of the target's components" if arrays else "a number"
        raise ValueError(f"{name} must be {what}, got {value!r}") from None


def flatten(value: Any) -> list[float]:
    """Return the flat list of the numbers in a number, nested lists or an array."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [number for item in value for number in flatten(item)]
    return [float(value)]
