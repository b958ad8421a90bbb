"""Convert targets from the form in a file to the form in which they are stored."""

import reprlib
from collections.abc import Collection, Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Label", "TargetKind", "TargetKinds", "find_kinds", "target_kind"]

NUMBER, LABEL, NUMBERS, LABELS = "a number", "a label", "a list of numbers", "a list of labels"


class Label(int):
    """Number of a class. A plain integer would be read as a quantity."""


@dataclass(frozen=True)
class TargetKind:
    """Kind of a target and, for lists, the shape of a missing value.

    Attributes
    ----------
    kind
        One of the constants ``NUMBER``, ``LABEL``, ``NUMBERS`` and ``LABELS``.
    rows
        Number of rows of a list in every structure, or None if a list has one row per atom.
    row
        Shape of a row.
    """

    kind: str
    rows: int | None = None
    row: tuple[int, ...] = ()


def target_kind(value: object, num_atoms: int = 0) -> TargetKind | None:
    """Return the `TargetKind` of a value, or None if the value is null. NaN counts as a number.

    Raises
    ------
    ValueError
        If the value is of an unsupported kind.
    """
    if value is None:
        return None
    if isinstance(value, bool | np.bool_ | Label):
        return TargetKind(LABEL)
    if isinstance(value, int | float | np.number):
        return TargetKind(NUMBER)
    if isinstance(value, list | tuple | np.ndarray):
        array = _to_array(value)
        if array.dtype.kind in "iufb" and array.ndim:
            rows = None if array.shape[0] == num_atoms and array.shape != (3, 3) else array.shape[0]
            return TargetKind(LABELS if array.dtype.kind == "b" else NUMBERS, rows, array.shape[1:])
    raise ValueError(
        "must be a number, a boolean, or nested lists of these with rows of the same length, got "
        f"{reprlib.repr(value)}"
    )


class TargetKinds:
    """Targets that every structure of a source has, with their kinds.

    Parameters
    ----------
    kinds
        Target name to kind.
    allow_missing
        Whether a target may be null or NaN, which is stored as NaN. Otherwise such a target raises an error.
    may_lack
        Whether an absent target counts as missing. Otherwise an absent target raises an error.
    others
        Whether targets that are not in `kinds` are ignored. Otherwise they raise an error.
    """

    def __init__(
        self,
        kinds: Mapping[str, TargetKind],
        *,
        allow_missing: bool = True,
        may_lack: bool = False,
        others: bool = False,
    ) -> None:
        self.kinds = dict(kinds)
        self.allow_missing = allow_missing
        self.may_lack = may_lack
        self.others = others

    @property
    def target_types(self) -> dict[str, list[str]]:
        """Names of the targets under ``regression`` (numbers) and ``classification`` (labels)."""
        return {
            "regression": [name for name, each in self.kinds.items() if each.kind in (NUMBER, NUMBERS)],
            "classification": [name for name, each in self.kinds.items() if each.kind in (LABEL, LABELS)],
        }

    def convert(self, targets: Mapping[str, object], num_atoms: int) -> dict[str, object]:
        """Convert the targets of one structure with `num_atoms` atoms.

        Numbers become float. Labels (true, false) become int. Lists become float or int64 arrays. ``stress``
        [3, 3] becomes [1, 3, 3]. Missing values become NaN. Lists with a row for each atom keep float32 if
        the source has it. All other floats become float64.

        Raises
        ------
        ValueError
            If a target has a different kind, is missing, or does not exist in the other structures.
        """
        if not self.may_lack:
            for name in self.kinds:
                if name not in targets:
                    reason = (
                        "is one of the targets to import" if self.others else "the first structure has it"
                    )
                    remedy = "remove it from targets" if self.others else "name only other targets in targets"
                    raise ValueError(
                        f"target {name!r} is missing, but {reason}; write null for a missing value, or "
                        f"{remedy} (--targets)"
                    )
        if not self.others:
            for name, value in targets.items():
                if name not in self.kinds and not (self.may_lack and value is None):
                    raise ValueError(
                        f"target {name!r} is not a target of the first structure; add it there (null if it "
                        "is missing), or name the targets to import in targets (--targets)"
                    )
        return {name: self._convert(name, targets.get(name), num_atoms) for name in self.kinds}

    def _convert(self, name: str, value: Any, num_atoms: int) -> object:
        wanted = self.kinds[name]
        try:
            found = target_kind(value, num_atoms)
        except ValueError as error:
            raise ValueError(f"target {name!r} {error}") from error
        if found is None or (found.kind == NUMBER and value != value):  # only NaN differs from itself
            return self._missing(name, wanted, num_atoms)
        if found.kind != wanted.kind:
            raise ValueError(
                f"target {name!r} must be {wanted.kind}, as in an earlier structure, got {found.kind}"
            )
        if wanted.kind in (NUMBER, LABEL):
            return float(value) if wanted.kind == NUMBER else int(value)
        array = _to_array(value)
        array = array.astype(np.int64 if wanted.kind == LABELS else _float(name, array.dtype, wanted))
        return array[None] if name == "stress" and array.shape == (3, 3) else array

    def _missing(self, name: str, wanted: TargetKind, num_atoms: int) -> Any:
        if not self.allow_missing:
            raise ValueError(
                f"target {name!r} is missing (null or NaN); add the value, remove the structure, or store "
                "NaN with allow_missing=True"
            )
        if wanted.kind in (NUMBER, LABEL):
            return float("nan")
        if wanted.kind == LABELS:
            raise ValueError(
                f"target {name!r} is null, but {wanted.kind} cannot be missing; remove the structure"
            )
        rows = num_atoms if wanted.rows is None else wanted.rows
        array = np.full((rows, *wanted.row), np.nan)
        return array[None] if name == "stress" and array.shape == (3, 3) else array


def find_kinds(
    structures: Iterable[tuple[str, Mapping[str, object] | Exception]],
    names: Collection[str] | None = None,
    *,
    origin: str,
    optional: bool = False,
) -> dict[str, TargetKind]:
    """Find the kinds of the named targets, or of all targets of the first structure.

    If a target is null in the first structure, its kind is that of the next structure that has it.

    Parameters
    ----------
    structures
        Positions and structures. Only as many structures are read as needed. Structures that cannot be read
        are skipped.
    names
        Names of the targets. Default: the targets of the first structure.
    origin
        Name of the source, for error messages.
    optional
        Whether to leave out a target that is null in every structure. Otherwise it raises an error.

    Raises
    ------
    ValueError
        If `structures` is empty, if a target is of an unsupported kind, or if a target is null in every
        structure.
    """
    kinds: dict[str, TargetKind | None] | None = None if names is None else dict.fromkeys(names)
    failure: Exception | None = None
    seen = False
    for place, structure in structures:
        if isinstance(structure, Exception):
            failure = failure or ValueError(f"{place}: {structure}")
            continue
        seen = True
        targets = structure.get("targets") or {}
        if not isinstance(targets, Mapping):
            raise ValueError(f"{place}: 'targets' must be an object, got {type(targets).__name__}")
        kinds = dict.fromkeys(targets) if kinds is None else kinds
        numbers = structure.get("atomic_numbers")
        num_atoms = len(numbers) if isinstance(numbers, Sized) else 0
        for name in [name for name, kind in kinds.items() if kind is None]:
            try:
                kinds[name] = target_kind(targets.get(name), num_atoms)
            except ValueError as error:
                raise ValueError(f"{place}: target {name!r} {error}") from error
        if None not in kinds.values():
            break
    if not seen:
        if failure is not None:
            raise failure
        raise ValueError(f"{origin!r} contains no structures")
    found = {name: kind for name, kind in (kinds or {}).items() if kind is not None}
    if not optional:
        for name in kinds or {}:
            if name not in found:
                raise ValueError(
                    f"target {name!r} is null in every structure of {origin!r}; remove this target"
                )
    return found


def _float(name: str, dtype: np.dtype[np.generic], kind: TargetKind) -> type:
    """Return float32 for float32 per-atom arrays, which take most of the space, and float64 otherwise."""
    per_atom = kind.rows is None and name != "stress"
    return np.float32 if dtype == np.float32 and per_atom else np.float64


def _to_array(value: object) -> np.ndarray:
    try:
        return np.array(value)
    except ValueError:  # rows of different lengths
        return np.array(None)
