"""Complete the samples of a data set, in which each record has only the labels of its structure."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["MISSING", "Completion", "completion"]

MISSING: dict[str, float | int | bool] = {
    "charge": float("nan"),
    "spin": float("nan"),
    "magmom": float("nan"),
    "tags": -1,
    "fixed": False,
}
"""Value of a key that some samples of a data set have and others lack, for each atom or structure."""

_PER_ATOM = {"magmom": np.float64, "tags": np.int64, "fixed": np.bool_}

Convert = Callable[[Any, bool], Any]
"""Function from an array or a number, and whether it is a target, to the form in which it is returned."""


class Completion:
    """Callable that completes a sample in place, so that all samples of a data set have the same keys.

    A missing target becomes NaN in the shape of its kind. Arrays that were stored without the leading
    dimension of a structure get it, classes become their numbers, and keys such as ``charge`` and ``tags``
    get the values in `MISSING`.

    Parameters
    ----------
    schema
        Schema of the data set.
    num_samples
        Number of samples of the data set.
    """

    def __init__(self, schema: Mapping[str, Mapping[str, Any]], num_samples: int) -> None:
        targets = {
            key.removeprefix("targets."): entry
            for key, entry in schema.items()
            if key.startswith("targets.") and "kind" in entry
        }
        self.num_targets = len(targets)
        self.shapes = {
            name: entry["shape"]
            for name, entry in targets.items()
            if entry["samples"] < num_samples and (entry["shape"] is None or None not in entry["shape"])
        }
        self.implied = {
            name: len(entry["shape"]) for name, entry in targets.items() if entry.get("rows") == "implied"
        }
        self.classes = {
            name: {value: number for number, value in enumerate(entry["class_names"])}
            for name, entry in targets.items()
            if "class_names" in entry and entry.get("stored") != "numbers"
        }
        self.keys = {
            key: value
            for key, value in MISSING.items()
            if key in schema and schema[key]["samples"] < num_samples
        }
        extra = [entry["samples"] for key, entry in schema.items() if key.partition(".")[0] == "extra"]
        self.has_extra = bool(extra)
        constant = schema.get("target_types", {}).get("value")
        self.target_types: dict[str, list[str]] | None = constant

    @property
    def is_needed(self) -> bool:
        """Whether any sample can be incomplete."""
        return bool(
            self.shapes or self.implied or self.classes or self.keys or self.has_extra or self.target_types
        )

    def __call__(self, sample: dict[str, Any], convert: Convert) -> None:
        """Complete a sample. New values are passed through `convert`."""
        if self.num_targets:
            targets = sample.get("targets")
            if targets is None:
                targets = sample["targets"] = {}
            for name, ndim in self.implied.items():
                value = targets.get(name)
                if value is not None and len(value.shape) < ndim:
                    targets[name] = value[None]
            for name, numbers in self.classes.items():
                value = targets.get(name)
                if value is not None:
                    word = value if isinstance(value, str) else int(value)
                    targets[name] = convert(numbers[word], True)
            if len(targets) < self.num_targets and self.shapes:
                num_atoms = len(sample["atomic_numbers"])
                for name, shape in self.shapes.items():
                    if name not in targets:
                        targets[name] = convert(_missing(shape, num_atoms), True)
        for key, missing in self.keys.items():
            if key not in sample:
                dtype = _PER_ATOM.get(key)
                if dtype is None:
                    sample[key] = missing
                else:
                    sample[key] = convert(np.full(len(sample["atomic_numbers"]), missing, dtype), False)
        if self.has_extra and "extra" not in sample:
            sample["extra"] = {}
        if self.target_types is not None and "target_types" not in sample:
            sample["target_types"] = {kind: list(names) for kind, names in self.target_types.items()}


def completion(schema: Mapping[str, Mapping[str, Any]], num_samples: int) -> Completion | None:
    """Return the completion of the samples of a data set, or None if all records are complete."""
    found = Completion(schema, num_samples)
    return found if found.is_needed else None


def _missing(shape: list[int | str] | None, num_atoms: int) -> Any:
    if shape is None:
        return float("nan")
    return np.full([num_atoms if size == "N" else size for size in shape], np.nan)
