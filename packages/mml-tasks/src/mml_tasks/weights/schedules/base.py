"""Base class of loss-weight schedules: a target, an initial and an end value, and a function of progress."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

StepFrequency: TypeAlias = Literal["step", "epoch"]


def fraction_of(index: int, total: int) -> float:
    """Return the progress of step ``index`` (from zero) of ``total``, from 0 at the first to 1 at the last.

    Later steps have progress 1. The only step of a run of length one has progress 0.
    """
    return 0.0 if total <= 1 else min(index / (total - 1), 1.0)


def check_weight(name: str, value: float) -> float:
    """Return a loss weight as a float.

    Raises
    ------
    ValueError
        If the weight is not a number, not finite, or negative.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be finite and not negative, got {value}. To leave a target out, use 0")
    return float(value)


def check_milestones(owner: str, milestones: Sequence[float], last: float | None = None) -> list[float]:
    """Return milestones, which are fractions of the run, as floats.

    Raises
    ------
    ValueError
        If the milestones do not ascend, or are outside (0, 1), or (0, ``last``] if ``last`` is given.
    """
    points = [float(milestone) for milestone in milestones]
    inside = all(0 < point < 1 or point == last for point in points)
    ascending = all(a < b for a, b in pairwise(points))
    if not inside or not ascending:
        interval = "(0, 1)" if last is None else f"(0, {last:g}]"
        raise ValueError(
            f"{owner}: milestones must be ascending fractions of the run in {interval}, got "
            f"{list(milestones)}. Divide steps or epochs by their total number"
        )
    return points


class BaseScalingSchedule(ABC):
    """Base class of schedules: the weight of one target's loss as a function of progress.

    Subclasses implement `value_between`. `LossScalingScheduler` only calls `value_at`. The methods
    `set_grid`, `grid`, ``len`` and `step` are for custom training loops.

    Parameters
    ----------
    key
        The target.
    initial_value, end_value
        Weights at the first and at the last step.
    step_frequency
        Unit of progress: ``"step"`` for optimizer steps, or ``"epoch"``.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or ``key`` or ``step_frequency`` is invalid.
    """

    def __init__(
        self, key: str, initial_value: float, end_value: float, step_frequency: StepFrequency
    ) -> None:
        name = type(self).__name__
        if not isinstance(key, str) or not key:
            raise ValueError(f"{name}: key must be the name of a target, got {key!r}")
        if step_frequency not in get_args(StepFrequency):
            raise ValueError(f"{name}: step_frequency must be 'step' or 'epoch', got {step_frequency!r}")
        self.key = key
        self.initial_value = check_weight(f"{name} of {key!r}: initial_value", initial_value)
        self.end_value = check_weight(f"{name} of {key!r}: end_value", end_value)
        self.step_frequency: StepFrequency = step_frequency
        self._total = 0
        self._position = 0

    @abstractmethod
    def value_between(self, fraction: float) -> float:
        """Return the weight at a fraction of the run strictly between 0 and 1."""

    def value_at(self, fraction: float) -> float:
        """Return the weight at a fraction of the run: 0 is the first step, 1 the last.

        Raises
        ------
        ValueError
            If the fraction is not in [0, 1].
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"the fraction of a run is from 0 to 1, got {fraction}")
        if fraction == 0:
            return self.initial_value
        return self.end_value if fraction == 1 else self.value_between(fraction)

    # ---------------------------------------------------------------- manual stepping

    def set_grid(self, total_steps: int) -> None:
        """Set the number of steps or epochs of the run, and return to the first one.

        Raises
        ------
        ValueError
            If ``total_steps`` is not a positive integer.
        """
        if isinstance(total_steps, bool) or not isinstance(total_steps, int) or total_steps < 1:
            raise ValueError(f"total_steps must be a positive whole number, got {total_steps!r}")
        self._total = total_steps
        self._position = 0

    @property
    def grid(self) -> Tensor:
        """Fractions of the run at its steps, [total_steps], float64."""
        return torch.tensor([fraction_of(i, len(self)) for i in range(len(self))], dtype=torch.float64)

    def __len__(self) -> int:
        if self._total == 0:
            raise ValueError(f"{type(self).__name__} has no length yet. Call set_grid(total_steps) first")
        return self._total

    def __bool__(self) -> bool:
        return True  # otherwise, truth testing would call __len__, which fails before set_grid

    def step(self) -> float:
        """Return the weight of the next step: first ``initial_value``, at the last step ``end_value``.

        Raises
        ------
        StopIteration
            If all steps have been taken.
        """
        if self._position >= len(self):
            raise StopIteration(f"all {len(self)} steps have been taken. Call set_grid to start again")
        value = self.value_at(fraction_of(self._position, len(self)))
        self._position += 1
        return value

    # ---------------------------------------------------------------- plotting

    def plot(self, ax: Any = None, points: int = 501) -> Any:
        """Plot the weight against the progress of the run.

        Parameters
        ----------
        ax
            Matplotlib ``Axes`` to draw into. Default: new axes.
        points
            Number of points of the curve.

        Returns
        -------
        Axes
            The axes that contain the curve.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        if ax is None:
            try:
                from matplotlib import pyplot
            except ImportError as error:
                raise ImportError(
                    "plotting a schedule needs matplotlib, which is not installed: pip install matplotlib"
                ) from error
            ax = pyplot.subplots()[1]
        fractions = [fraction_of(i, points) for i in range(points)]
        ax.plot(fractions, [self.value_at(fraction) for fraction in fractions], label=self.key)
        ax.set_xlabel("progress of the run")
        ax.set_ylabel("loss weight")
        ax.legend(loc="upper right")  # "best" warns if the search takes long
        return ax

    def __repr__(self) -> str:
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"
