"""Scale regression targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mml_samples import Array, Sample

from mml_graphs._repr import pasteable_repr
from mml_graphs.sample import with_keys
from mml_graphs.transforms._arrays import tensor
from mml_graphs.transforms._errors import finite, naming
from mml_graphs.transforms._graphs import update_graph


class ScaleRegressionTargets:
    """Multiply the regression targets by constants, for example to change their unit.

    The targets listed in ``target_types["regression"]`` are scaled in ``targets``, in float64, and in the
    graph if it has an array with the same name. Predictions must be divided by the same constants.

    Parameters
    ----------
    value
        Factor for every regression target that is not in ``values``. ``None`` does not scale these targets.
    values
        Factors by name of the target.

    Raises
    ------
    ValueError
        If neither ``value`` nor ``values`` is given, a factor is zero or not finite, or the sample does not
        have a named target. The message names the sample and the key.
    """

    is_random = False

    def __init__(self, value: float | None = None, values: Mapping[str, float] | None = None) -> None:
        if value is None and not values:
            raise ValueError("value or values must be set, got neither")
        self.value = None if value is None else _factor("value", value)
        self.values = {key: _factor(f"values[{key!r}]", factor) for key, factor in (values or {}).items()}

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with scaled targets."""
        with naming(sample):
            names = _regression_targets(sample)
            unknown = sorted(self.values.keys() - set(names))
            if unknown:
                raise ValueError(
                    f"values contains {unknown[0]!r}, which is not among the regression targets: "
                    f"{list(names)}"
                )
            targets = dict(sample.get("targets", {}))
            factors: dict[str, float] = {}
            for name in names:
                factor = self.values.get(name, self.value)
                if factor is None:
                    continue
                if name not in targets:
                    raise ValueError(f"{name!r} of 'target_types' is missing in 'targets'")
                targets[name] = _scaled(name, targets[name], factor)
                factors[name] = factor

            def in_graph(arrays: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
                return {name: arrays[name] * factor for name, factor in factors.items() if name in arrays}

            result: dict[str, Array] = {"targets": targets}
            if "graph" in sample:
                result["graph"] = update_graph(
                    sample["graph"], nodes=in_graph, edges=in_graph, whole=in_graph
                )
            return with_keys(sample, result)

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _factor(argument: str, value: float) -> float:
    if finite(argument, value) == 0:
        raise ValueError(f"{argument} must not be 0, which would erase the labels")
    return float(value)


def _regression_targets(sample: Sample) -> list[str]:
    types = sample.get("target_types")
    if not isinstance(types, Mapping) or "regression" not in types:
        raise ValueError(
            f"'target_types' must contain the regression targets, as in {{'regression': ['energy']}}, "
            f"got {types!r}"
        )
    return list(types["regression"])


def _scaled(name: str, value: Array, factor: float) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value * factor
    return tensor(f"targets.{name}", value).to(torch.float64) * factor
