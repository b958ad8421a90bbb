"""Schedule that runs several schedules one after another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from mml_tasks.weights.schedules.base import BaseScalingSchedule, check_milestones


class SequentialScalingSchedule(BaseScalingSchedule):
    """Run several schedules of one target one after another, each during its part of the run.

    A schedule ends at the milestone at which the next one begins. The step at the milestone has the
    ``initial_value`` of the next schedule.

    Parameters
    ----------
    schedules
        The schedules, all with the same key and the same ``step_frequency``.
    milestones
        Fractions of the run in (0, 1), ascending, at which the second, third, ... schedule begins.

    Raises
    ------
    ValueError
        If ``schedules`` is empty, the schedules differ in key or frequency, or ``milestones`` does not
        contain one fraction less than there are schedules, ascending within (0, 1).
    """

    def __init__(self, schedules: Sequence[BaseScalingSchedule], milestones: Sequence[float]) -> None:
        name = type(self).__name__
        if not schedules:
            raise ValueError(f"{name} needs at least one schedule")
        for attribute in ("key", "step_frequency"):
            found = sorted({getattr(schedule, attribute) for schedule in schedules})
            if len(found) > 1:
                raise ValueError(f"the schedules of {name} must have the same {attribute}, got {found}")
        if len(milestones) != len(schedules) - 1:
            raise ValueError(
                f"{name} got {len(milestones)} milestones for {len(schedules)} schedules, expected one for "
                "each schedule but the first: the fraction of the run at which it begins"
            )
        self.schedules = list(schedules)
        self.milestones = check_milestones(f"{name} of {schedules[0].key!r}", milestones)
        first, last = schedules[0], schedules[-1]
        super().__init__(first.key, first.initial_value, last.end_value, first.step_frequency)

    def value_between(self, fraction: float) -> float:
        """Return the weight at a fraction of the run."""
        i = bisect_right(self.milestones, fraction)
        bounds = [0.0, *self.milestones, 1.0]
        return self.schedules[i].value_at((fraction - bounds[i]) / (bounds[i + 1] - bounds[i]))
