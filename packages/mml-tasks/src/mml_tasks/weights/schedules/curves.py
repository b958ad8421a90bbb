"""Schedules that follow a curve between two values: linear, sigmoid, exponential, cosine.

The curves are monotonic even in floating-point arithmetic, because each is a chain of operations that round
monotonically.
"""

from __future__ import annotations

import math

from mml_tasks.weights.schedules.base import BaseScalingSchedule, StepFrequency


def interpolate(initial: float, end: float, part: float) -> float:
    """Return ``initial + part * (end - initial)``, clipped to the range of ``initial`` and ``end``."""
    low, high = min(initial, end), max(initial, end)
    return min(max(initial + part * (end - initial), low), high)


def logistic(x: float) -> float:
    """Return ``1 / (1 + exp(-x))``."""
    return 1 / (1 + math.exp(min(-x, 700.0)))  # exp overflows at 710


class LinearScalingSchedule(BaseScalingSchedule):
    """Change the weight linearly.

    Parameters
    ----------
    key
        The target.
    initial_value, end_value
        Weights at the first and at the last step. Without ``end_value``, the weight is constant.
    step_frequency
        ``"step"`` or ``"epoch"``.
    """

    def __init__(
        self,
        key: str,
        initial_value: float,
        end_value: float | None = None,
        step_frequency: StepFrequency = "epoch",
    ) -> None:
        super().__init__(
            key, initial_value, initial_value if end_value is None else end_value, step_frequency
        )

    def value_between(self, fraction: float) -> float:
        """Return the weight at a fraction of the run."""
        return interpolate(self.initial_value, self.end_value, fraction)


class SigmoidScalingSchedule(BaseScalingSchedule):
    """Change the weight along a logistic curve, which is flat near both ends and steepest at ``center_frac``.

    With ``g(t) = logistic(-log(curvature) * (t - center_frac))``, the weight has completed the part ``(g(t) -
    g(0)) / (g(1) - g(0))`` of its change. This rescales the curve from g(0) and g(1) to 0 and 1. Without the
    rescaling, as in the archived matsciml, a curve with a large ``curvature`` would miss its initial and end
    values.

    Parameters
    ----------
    key
        The target.
    initial_value, end_value
        Weights at the first and at the last step.
    center_frac
        Fraction of the run at which the weight changes fastest, in (0, 1).
    curvature
        Steepness, in (0, 1). The rate of the logistic curve is ``-log(curvature)`` per run: smaller values
        are more abrupt. The default changes from 10 % to 90 % of the way within 30 % of the run, 1e-30 within
        6 %. Towards 1, the curve approaches a straight line.
    step_frequency
        ``"step"`` or ``"epoch"``.

    Raises
    ------
    ValueError
        If ``center_frac`` or ``curvature`` is outside (0, 1), and as for `BaseScalingSchedule`.
    """

    def __init__(
        self,
        key: str,
        initial_value: float,
        end_value: float,
        center_frac: float,
        curvature: float = 5e-7,
        step_frequency: StepFrequency = "step",
    ) -> None:
        super().__init__(key, initial_value, end_value, step_frequency)
        for name, number, remedy in (
            ("center_frac", center_frac, "it is the fraction of the run at which the weight changes fastest"),
            ("curvature", curvature, "1e-2 is gradual and 1e-30 abrupt"),
        ):
            if not 0 < number < 1:
                raise ValueError(
                    f"{type(self).__name__} of {key!r}: {name} must be between 0 and 1, got {number} "
                    f"({remedy})"
                )
        self.center_frac = float(center_frac)
        self.curvature = float(curvature)

    def value_between(self, fraction: float) -> float:
        """Return the weight at a fraction of the run."""
        rate = -math.log(self.curvature)
        if rate < 1e-6:  # the curve is straight to within 1e-13, and the differences below would cancel
            return interpolate(self.initial_value, self.end_value, fraction)
        start = logistic(-rate * self.center_frac)
        length = logistic(rate * (1 - self.center_frac)) - start
        part = (logistic(rate * (fraction - self.center_frac)) - start) / length
        return interpolate(self.initial_value, self.end_value, part)


class ExponentialScalingSchedule(BaseScalingSchedule):
    """Multiply the weight by a constant factor per step, ``initial_value * (end_value / initial_value)**t``.

    Parameters
    ----------
    key
        The target.
    initial_value, end_value
        Weights at the first and at the last step; both positive.
    step_frequency
        ``"step"`` or ``"epoch"``.

    Raises
    ------
    ValueError
        If a weight is zero, which no factor can reach or leave, and as for `BaseScalingSchedule`.
    """

    def __init__(
        self, key: str, initial_value: float, end_value: float, step_frequency: StepFrequency = "step"
    ) -> None:
        super().__init__(key, initial_value, end_value, step_frequency)
        if self.initial_value == 0 or self.end_value == 0:
            raise ValueError(
                f"{type(self).__name__} of {key!r}: initial_value and end_value must be positive, got "
                f"{initial_value} and {end_value}. Use a small number, or a linear schedule"
            )

    def value_between(self, fraction: float) -> float:
        """Return the weight at a fraction of the run."""
        start, end = math.log(self.initial_value), math.log(self.end_value)
        low, high = sorted((self.initial_value, self.end_value))
        return min(max(math.exp(start + fraction * (end - start)), low), high)


class CosineScalingSchedule(BaseScalingSchedule):
    """Change the weight along half a period of a cosine: slow at both ends, fastest in the middle.

    Parameters
    ----------
    key
        The target.
    initial_value, end_value
        Weights at the first and at the last step.
    step_frequency
        ``"step"`` or ``"epoch"``.
    """

    def __init__(
        self, key: str, initial_value: float, end_value: float, step_frequency: StepFrequency = "step"
    ) -> None:
        super().__init__(key, initial_value, end_value, step_frequency)

    def value_between(self, fraction: float) -> float:
        """Return the weight at a fraction of the run."""
        return interpolate(self.initial_value, self.end_value, (1 - math.cos(math.pi * fraction)) / 2)
