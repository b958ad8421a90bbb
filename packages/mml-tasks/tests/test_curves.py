import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import (
    CosineScalingSchedule,
    ExponentialScalingSchedule,
    LinearScalingSchedule,
    SigmoidScalingSchedule,
)

inside = st.floats(0.01, 0.99)


def stepped(schedule, total):
    schedule.set_grid(total)
    return [schedule.step() for _ in range(total)]


def test_linear_equals_formula():
    assert stepped(LinearScalingSchedule("energy", 1.0, 10.0), 4) == [1.0, 4.0, 7.0, 10.0]
    assert stepped(LinearScalingSchedule("energy", 10.0, 0), 5) == [10.0, 7.5, 5.0, 2.5, 0.0]
    assert stepped(LinearScalingSchedule("energy", 3.0), 3) == [3.0, 3.0, 3.0]
    assert LinearScalingSchedule("energy", 3.0).step_frequency == "epoch"


def test_exponential_equals_formula():
    assert stepped(ExponentialScalingSchedule("energy", 1.0, 1000.0), 4) == pytest.approx([1, 10, 100, 1000])


def test_cosine_equals_formula():
    half = math.sqrt(0.5) / 2
    values = [2, 2 + 4 * (0.5 - half), 4, 2 + 4 * (0.5 + half), 6]
    assert stepped(CosineScalingSchedule("energy", 2.0, 6.0), 5) == pytest.approx(values)


@given(inside, inside, st.floats(1e-12, 1e-2))
def test_sigmoid_stretches_older_curve(fraction, center, curvature):
    """The older curve, (end * c**center + initial * c**t) / (c**center + c**t), misses both ends."""

    def older(t):
        return (5.0 * curvature**center + 1.0 * curvature**t) / (curvature**center + curvature**t)

    stretched = 1 + 4 * (older(fraction) - older(0)) / (older(1) - older(0))
    schedule = SigmoidScalingSchedule("energy", 1.0, 5.0, center, curvature)
    assert schedule.value_at(fraction) == pytest.approx(stretched, rel=1e-9)


def test_sigmoid_curvature_matches_docstring():
    for curvature, width in ((5e-7, 0.30), (1e-30, 0.06)):
        sigmoid = SigmoidScalingSchedule("energy", 0.0, 1.0, 0.5, curvature)
        assert sigmoid.value_at(0.5 - width / 2) == pytest.approx(0.1, abs=0.015)
        assert sigmoid.value_at(0.5 + width / 2) == pytest.approx(0.9, abs=0.015)
    for curvature in (1 - 1e-5, 1 - 1e-6, 1 - 1e-7, 1 - 2**-53):
        straight = SigmoidScalingSchedule("energy", 0.0, 1.0, 0.2, curvature)
        assert straight.value_at(0.3) == pytest.approx(0.3, rel=1e-4)


def test_sigmoid_has_inflection_at_center():
    early = SigmoidScalingSchedule("energy", 0.0, 1.0, 0.2, 1e-30)
    assert early.value_at(0.2) == pytest.approx(0.5, abs=1e-5)
    assert early.step_frequency == "step"


@pytest.mark.parametrize("name", ["center_frac", "curvature"])
@pytest.mark.parametrize("number", [0.0, 1.0, -0.5, 1.5, math.nan, math.inf])
def test_invalid_sigmoids_are_refused(name, number):
    arguments = {"center_frac": 0.5, "curvature": 1e-3, name: number}
    with pytest.raises(
        ValueError, match=f"SigmoidScalingSchedule of 'energy': {name} must be between 0 and 1"
    ):
        SigmoidScalingSchedule("energy", 1.0, 2.0, **arguments)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
def test_exponential_refuses_zero(ends):
    with pytest.raises(ValueError, match=r"initial_value and end_value must be positive, got"):
        ExponentialScalingSchedule("energy", *ends)
