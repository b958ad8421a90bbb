"""Check which labels are missing, not finite, constant or placeholders."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from mml_data.physics.finding import Finding
from mml_data.physics.frame import Frame

__all__ = ["LabelCounts", "check_labels"]

_PLACEHOLDERS = (999.0, -999.0, 9999.0, -9999.0, 99999.0, -99999.0, 1e10, 1e20, 1e30)
_MOST_VALUES = 1000


@dataclass
class LabelCounts:
    """Counts of the values of one target.

    Attributes
    ----------
    count
        Number of samples with a complete value.
    by_split
        Number of samples with a complete value in each split.
    partial
        Indices of samples in which some components are missing.
    infinite, placeholders
        Indices of samples with infinite values, and with values such as -999.
    values
        Number of samples with each value, as long as there are not too many. None for arrays.
    is_float
        Whether the values are floats. Integers and booleans are classes.
    """

    count: int = 0
    by_split: Counter[str] = field(default_factory=Counter)
    partial: list[int] = field(default_factory=list)
    infinite: list[int] = field(default_factory=list)
    placeholders: list[int] = field(default_factory=list)
    values: Counter[float] | None = field(default_factory=Counter)
    is_float: bool = False

    def add(self, frame: Frame, value: object) -> None:
        """Count the value of a sample."""
        array = np.asarray(float("nan") if value is None else value)
        if array.dtype.kind not in "fiub" or not array.size:
            return
        missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
        if missing.all():
            return
        if missing.any():
            self.partial.append(frame.index)
        if array.dtype.kind == "f" and np.isinf(array).any():
            self.infinite.append(frame.index)
            return
        self.count += 1
        self.by_split[frame.split] += 1
        self.is_float |= array.dtype.kind == "f"
        if np.isin(array, _PLACEHOLDERS).any():
            self.placeholders.append(frame.index)
        if array.size > 1:
            self.values = None
        elif self.values is not None:
            self.values[float(array.reshape(-1)[0])] += 1
            if len(self.values) > _MOST_VALUES:
                self.values = None


def check_labels(labels: dict[str, LabelCounts], sizes: Counter[str]) -> list[Finding]:
    """Check the counts of each target.

    Parameters
    ----------
    labels
        Counts by target.
    sizes
        Number of samples in each split.
    """
    found: list[Finding] = []
    total = sum(sizes.values())
    for name, counts in labels.items():
        if counts.infinite:
            found.append(
                Finding(
                    "labels",
                    "error",
                    f"target {name!r} is infinite in {_samples(len(counts.infinite))}",
                    "remove these samples, or store a missing label as null or NaN",
                    tuple(counts.infinite),
                )
            )
        if counts.placeholders:
            found.append(
                Finding(
                    "labels",
                    "error",
                    f"target {name!r} has a value such as -999 or 1e20, which usually stands for a missing "
                    f"label, in {_samples(len(counts.placeholders))}",
                    "store a missing label as null or NaN",
                    tuple(counts.placeholders),
                )
            )
        if counts.partial:
            found.append(
                Finding(
                    "labels",
                    "warning",
                    f"target {name!r} has some components that are NaN in {_samples(len(counts.partial))}",
                    "check how these labels were computed; losses leave the components out",
                    tuple(counts.partial),
                )
            )
        found += _missing(name, counts, sizes, total)
        found += _constant(name, counts)
    return found


def _missing(name: str, counts: LabelCounts, sizes: Counter[str], total: int) -> list[Finding]:
    if counts.count == 0:
        return [
            Finding(
                "labels",
                "error" if not counts.infinite else "info",
                f"target {name!r} is missing in all samples",
                "import the data set without this target, or check the name of the label in the source",
            )
        ]
    found = []
    for split, size in sizes.items():
        if split and size >= 3 and not counts.by_split[split]:
            found.append(
                Finding(
                    "labels",
                    "warning",
                    f"target {name!r} is missing in all {_samples(size)} of split {split!r}",
                    "draw new splits with `matsciml data split`, so that the split can measure the target",
                )
            )
    if not found and counts.count < total:
        missing = total - counts.count
        found.append(
            Finding(
                "labels",
                "info",
                f"target {name!r} is missing in {missing:,} of {_samples(total)}",
                "losses and metrics leave missing labels out",
            )
        )
    return found


def _constant(name: str, counts: LabelCounts) -> list[Finding]:
    if counts.values is None or counts.count < 5:
        return []
    value, most = counts.values.most_common(1)[0]
    if len(counts.values) == 1:
        return [
            Finding(
                "labels",
                "warning",
                f"target {name!r} has the same value {value:g} in all {_samples(counts.count)}",
                "check whether the label was read from the right place; a model cannot learn from a constant",
                numbers={"value": value},
            )
        ]
    if name == "energy" and counts.is_float and value == 0 and most > 1:
        return [
            Finding(
                "labels",
                "error",
                f"target {name!r} is exactly zero in {_samples(most)}",
                "zero probably stands for a missing label; store it as null or NaN",
                numbers={"samples": most},
            )
        ]
    return []


def _samples(count: int) -> str:
    return f"{count:,} sample{'s' if count != 1 else ''}"
