"""Targets as they stand in a file, and as they are stored."""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["TargetKinds", "target_kind"]

NUMBER, LABEL, NUMBERS, LABELS = "a number", "a label", "a list of numbers", "a list of labels"


def target_kind(value: Any) -> str | None:
    """Say what a value read from JSON is: one of the four kinds, or None where it is missing (null).

    Raises
    ------
    ValueError
        Where it is none of them.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return LABEL
    if isinstance(value, int | float):
        return NUMBER
    if isinstance(value, list):
        kind = _to_array(value).dtype.kind
        if kind in "iuf":
            return NUMBERS
        if kind == "b":
            return LABELS
    raise ValueError("is neither a number, true or false, nor a list of those that is as long in every row")


class TargetKinds:
    """The targets that every structure of a file has, and of which kind each is.

    Parameters
    ----------
    kinds
        Target name to kind, see `target_kind`.
    allow_missing
        Whether a number or label may be null or NaN.
    """

    def __init__(self, kinds: Mapping[str, str], *, allow_missing: bool) -> None:
        self.kinds = dict(kinds)
        self.allow_missing = allow_missing
        self.missing: dict[str, int] = dict.fromkeys(kinds, 0)

    @property
    def target_types(self) -> dict[str, list[str]]:
        """Names of the targets under ``regression`` (numbers) and ``classification`` (labels)."""
        return {
            "regression": [name for name, kind in self.kinds.items() if kind in (NUMBER, NUMBERS)],
            "classification": [name for name, kind in self.kinds.items() if kind in (LABEL, LABELS)],
        }

    def convert(self, targets: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the targets of one structure.

        Numbers become float, labels (true, false) int, lists float64 or int64 arrays; ``stress`` [3, 3]
        becomes [1, 3, 3]; what is missing becomes NaN.

        Raises
        ------
        ValueError
            Where a target is of another kind, missing, or one that the other structures do not have.
        """
        for name in self.kinds:
            if name not in targets:
                raise ValueError(f"target {name!r} is not there, but the first structure has it: {_REMEDY}")
        for name in targets:
            if name not in self.kinds:
                raise ValueError(f"target {name!r} is there, but the first structure lacks it: {_REMEDY}")
        return {name: self._convert(name, targets[name]) for name in self.kinds}

    def _convert(self, name: str, value: Any) -> Any:
        wanted = self.kinds[name]
        try:
            kind = target_kind(value)
        except ValueError as error:
            raise ValueError(f"target {name!r} {error}") from error
        if kind is None or value != value:  # NaN is the only number that is not itself
            if wanted not in (NUMBER, LABEL):
                raise ValueError(f"target {name!r} is null, but it must be {wanted}: leave the structure out")
            if not self.allow_missing:
                raise ValueError(
                    f"target {name!r} is missing (null or NaN): give a value, leave the structure out, "
                    "or store it as NaN with allow_missing=True"
                )
            self.missing[name] += 1
            return float("nan")
        if kind != wanted:
            raise ValueError(
                f"target {name!r} is {kind}, but {wanted} in a structure before: give all the same"
            )
        if kind in (NUMBER, LABEL):
            return float(value) if kind == NUMBER else int(value)
        array = _to_array(value).astype(np.float64 if kind == NUMBERS else np.int64)
        return array[None] if name == "stress" and array.shape == (3, 3) else array


_REMEDY = "all structures of a file have the same targets, null stands for a missing value"


def _to_array(value: list[Any]) -> np.ndarray:
    try:
        return np.array(value)
    except ValueError:  # rows of different lengths
        return np.array(None)
