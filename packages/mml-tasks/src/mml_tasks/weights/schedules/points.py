"""Schedules that are defined by points: piecewise constant or piecewise linear."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from mml_tasks.weights.schedules.base import (
    BaseScalingSchedule,
    StepFrequency,
    check_milestones,
    check_weight,
)
from mml_tasks.weights.schedules.curves import interpolate


def check_values(owner: str, values: Sequence[float], others: Sequence[float], name: str) -> list[float]:
    """Return ``values`` as loss weights, and raise an error if their number differs from ``others``."""
    if len(values) != len(others):
        raise ValueError(
            f"{owner} needs one value for each of the {len(others)} {name}, got {len(values)} values"
        )
    return [check_weight(f"{owner}: values[{i}]", value) for i, value in enumerate(values)]


class StepScalingSchedule(BaseScalingSchedule):
    """Keep the weight constant between milestones.

    Parameters
    ----------
    key
        The target.
    initial_value
        Weight before the first milestone.
    milestones
        Fractions of the run, ascending, in (0, 1]. A milestone takes effect at the first step that reaches
        it.
    values
        Weight from each milestone on.
    step_frequency
        ``"step"`` or ``"epoch"``.

    Raises
    ------
    ValueError
        If the milestones do not ascend within (0, 1], or the numbers of values and milestones differ, and as
        for `BaseScalingSchedule`.
    """

    def __init__(
        self,
        key: str,
        initial_value: float,
        milestones: Sequence[float],
        values: Sequence[float],
        step_frequency: StepFrequency = "epoch",
    ) -> None:
        owner = f"{type(self).__name__} of {key!r}"
        self.milestones = check_milestones(owner, milestones, last=1.0)
        self.values = check_values(owner, values, milestones, "milestones")
        super().__init__(key, initial_value, [initial_value, *self.values][-1], step_frequency)

    def value_between(self, fraction: float) -> float:
        """Return the weight at a fraction of the run."""
        return [self.initial_value, *self.values][bisect_right(self.milestones, fraction)]


class PiecewiseScalingSchedule(BaseScalingSchedule):
    """Interpolate the weight linearly between given points.

    Parameters
    ----------
    key
        The target.
    fractions
        Fractions of the run, ascending, from 0 to 1.
    values
        Weight at each fraction.
    step_frequency
        ``"step"`` or ``"epoch"``.

    Raises
    ------
    ValueError
        If the fractions do not ascend from 0 to 1, or the numbers of values and fractions differ, and as for
        `BaseScalingSchedule`.
    """

    def __init__(
        self,
        key: str,
        fractions: Sequence[float],
        values: Sequence[float],
        step_frequency: StepFrequency = "step",
    ) -> None:
        owner = f"{type(self).__name__} of {key!r}"
        if len(fractions) < 2 or fractions[0] != 0 or fractions[-1] != 1:
            raise ValueError(f"{owner}: fractions must start with 0 and end with 1, got {list(fractions)}")
        self.fractions = [0.0, *check_milestones(owner, fractions[1:-1]), 1.0]
        self.values = check_values(owner, values, fractions, "fractions")
        super().__init__(key, self.values[0], self.values[-1], step_frequency)

    def value_between(self, fraction: float) -> float:
        """Return the weight at a fraction of the run."""
        i = bisect_right(self.fractions, fraction) - 1
        start, stop = self.fractions[i], self.fractions[i + 1]
        return interpolate(self.values[i], self.values[i + 1], (fraction - start) / (stop - start))
