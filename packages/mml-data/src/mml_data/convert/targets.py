"""Targets as they stand in a file, and as they are stored."""

from collections.abc import Collection, Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Label", "TargetKind", "TargetKinds", "find_kinds", "target_kind"]

NUMBER, LABEL, NUMBERS, LABELS = "a number", "a label", "a list of numbers", "a list of labels"


class Label(int):
    """The number of a class, where a bare number would be taken for a quantity."""


@dataclass(frozen=True)
class TargetKind:
    """One of the four kinds, and for lists what a missing one looks like.

    ``rows`` is None where a list has a row for each atom, else how many it has in every structure; ``row`` is
    the shape of a row.
    """

    kind: str
    rows: int | None = None
    row: tuple[int, ...] = ()


def target_kind(value: Any, natoms: int = 0) -> TargetKind | None:
    """Say what a value is: a `TargetKind`, or None where it is missing (null, or a number that is NaN).

    Raises
    ------
    ValueError
        Where it is none of them.
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
            rows = None if array.shape[0] == natoms and array.shape != (3, 3) else array.shape[0]
            return TargetKind(LABELS if array.dtype.kind == "b" else NUMBERS, rows, array.shape[1:])
    raise ValueError("is neither a number, true or false, nor a list of those that is as long in every row")


class TargetKinds:
    """The targets that every structure of a source has, and of which kind each is.

    Parameters
    ----------
    kinds
        Target name to kind.
    allow_missing
        Whether a target may be null or NaN; it is stored as NaN.
    may_lack
        Whether a target that is not there counts as missing; else that is an error.
    others
        Whether targets that are not among `kinds` are left out; else that is an error.
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

    def convert(self, targets: Mapping[str, Any], natoms: int) -> dict[str, Any]:
        """Convert the targets of one structure of `natoms` atoms.

        Numbers become float, labels (true, false) int, lists float or int64 arrays; ``stress`` [3, 3] becomes
        [1, 3, 3]; missing values become NaN. Lists with a row for each atom keep float32 if the source has
        it; all other floats become float64.

        Raises
        ------
        ValueError
            Where a target is of another kind, missing, or one that the other structures do not have.
        """
        if not self.may_lack:
            for name in self.kinds:
                if name not in targets:
                    raise ValueError(
                        f"target {name!r} is not there, but the first structure has it: {_REMEDY}"
                    )
        if not self.others:
            for name, value in targets.items():
                if name not in self.kinds and not (self.may_lack and value is None):
                    raise ValueError(f"target {name!r} is there, but the first structure lacks it: {_REMEDY}")
        return {name: self._convert(name, targets.get(name), natoms) for name in self.kinds}

    def _convert(self, name: str, value: Any, natoms: int) -> Any:
        wanted = self.kinds[name]
        try:
            found = target_kind(value, natoms)
        except ValueError as error:
            raise ValueError(f"target {name!r} {error}") from error
        if found is None or (found.kind == NUMBER and value != value):  # NaN is the number that is not itself
            return self._missing(name, wanted, natoms)
        if found.kind != wanted.kind:
            raise ValueError(
                f"target {name!r} is {found.kind}, but {wanted.kind} in a structure before: give all the same"
            )
        if wanted.kind in (NUMBER, LABEL):
            return float(value) if wanted.kind == NUMBER else int(value)
        array = _to_array(value)
        array = array.astype(np.int64 if wanted.kind == LABELS else _float(name, array.dtype, wanted))
        return array[None] if name == "stress" and array.shape == (3, 3) else array

    def _missing(self, name: str, wanted: TargetKind, natoms: int) -> Any:
        if not self.allow_missing:
            raise ValueError(
                f"target {name!r} is missing (null or NaN): give a value, leave the structure out, "
                "or store it as NaN with allow_missing=True"
            )
        if wanted.kind in (NUMBER, LABEL):
            return float("nan")
        if wanted.kind == LABELS:
            raise ValueError(
                f"target {name!r} is null, but it must be {wanted.kind}: leave the structure out"
            )
        rows = natoms if wanted.rows is None else wanted.rows
        array = np.full((rows, *wanted.row), np.nan)
        return array[None] if name == "stress" and array.shape == (3, 3) else array


def find_kinds(
    structures: Iterable[tuple[str, Mapping[str, Any] | Exception]],
    names: Collection[str] | None = None,
    *,
    origin: str,
    optional: bool = False,
) -> dict[str, TargetKind]:
    """Find the kinds of targets: of the named ones, or of all that the first structure has.

    Where one is null in the first structure, it is that of the next structure that has it.

    Parameters
    ----------
    structures
        Place and structure; only as many are looked at as are needed. Those that cannot be read are passed
        over.
    names
        The targets that are wanted; default: those of the first structure.
    origin
        What they come from, for messages.
    optional
        Leave a target out that is null everywhere, instead of refusing it.

    Raises
    ------
    ValueError
        Where there is no structure, a target is none, or one is null everywhere.
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
            raise ValueError(f"{place}: 'targets' must be an object, it is a {type(targets).__name__}")
        kinds = dict.fromkeys(targets) if kinds is None else kinds
        numbers = structure.get("atomic_numbers")
        natoms = len(numbers) if isinstance(numbers, Sized) else 0
        for name in [name for name, kind in kinds.items() if kind is None]:
            try:
                kinds[name] = target_kind(targets.get(name), natoms)
            except ValueError as error:
                raise ValueError(f"{place}: target {name!r} {error}") from error
        if None not in kinds.values():
            break
    if not seen:
        if failure is not None:
            raise failure
        raise ValueError(f"there is no structure in {origin!r}: it is empty")
    found = {name: kind for name, kind in (kinds or {}).items() if kind is not None}
    if not optional:
        for name in kinds or {}:
            if name not in found:
                raise ValueError(f"target {name!r} is null in every structure of {origin!r}: leave it out")
    return found


_REMEDY = (
    "all structures of a data set have the same targets, null stands for a missing value "
    "(targets=[...], --targets, names those that are wanted)"
)


def _float(name: str, dtype: np.dtype[Any], kind: TargetKind) -> type:
    """Return float32 for per-atom arrays of that dtype, which take most of the space, and else float64."""
    per_atom = kind.rows is None and name != "stress"
    return np.float32 if dtype == np.float32 and per_atom else np.float64


def _to_array(value: Any) -> np.ndarray:
    try:
        return np.array(value)
    except ValueError:  # rows of different lengths
        return np.array(None)
