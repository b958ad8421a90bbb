import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import PiecewiseScalingSchedule, StepScalingSchedule

inside = st.lists(st.floats(0.01, 0.99), max_size=4, unique=True).map(sorted)
weights = st.floats(0, 100)


def stepped(schedule, total):
    schedule.set_grid(total)
    return [schedule.step() for _ in range(total)]


def test_step_takes_effect_at_milestone():
    schedule = StepScalingSchedule("energy", 1.0, [0.3, 0.6], [5.0, 2.0])
    assert stepped(schedule, 11) == [1.0] * 3 + [5.0] * 3 + [2.0] * 5
    assert stepped(StepScalingSchedule("energy", 1.0, [1.0], [5.0]), 3) == [1.0, 1.0, 5.0]


def test_pieces_are_continuous():
    schedule = PiecewiseScalingSchedule("energy", [0, 0.2, 1], [0, 10, 2])
    assert stepped(schedule, 11) == pytest.approx([0, 5, 10, 9, 8, 7, 6, 5, 4, 3, 2])


@given(inside, st.data())
def test_pieces_equal_numpy_interpolation(points, data):
    fractions = [0.0, *points, 1.0]
    values = data.draw(st.lists(weights, min_size=len(fractions), max_size=len(fractions)))
    schedule = PiecewiseScalingSchedule("energy", fractions, values)
    for fraction in [*fractions, *data.draw(st.lists(st.floats(0, 1), max_size=5))]:
        assert schedule.value_at(fraction) == pytest.approx(np.interp(fraction, fractions, values))
    assert [schedule.value_at(fraction) for fraction in fractions] == values


@given(inside, st.data())
def test_steps_use_last_milestone(points, data):
    values = data.draw(st.lists(weights, min_size=len(points), max_size=len(points)))
    schedule = StepScalingSchedule("energy", 7.0, points, values)
    fraction = data.draw(st.floats(0, 1) | st.sampled_from([0.0, 1.0, *points]))
    passed = [value for point, value in zip(points, values, strict=True) if point <= fraction]
    assert schedule.value_at(fraction) == [7.0, *passed][-1]


@pytest.mark.parametrize("milestones", [[0.5, 0.5], [0.6, 0.5], [0.0], [1.5], [-0.1], [10, 20], [math.nan]])
def test_invalid_milestones_are_refused(milestones):
    with pytest.raises(
        ValueError,
        match=r"'energy': milestones must be ascending fractions of the run in \(0, 1\], got .* Divide",
    ):
        StepScalingSchedule("energy", 1.0, milestones, [1.0] * len(milestones))


def test_milestones_without_values_are_refused():
    with pytest.raises(ValueError, match="needs one value for each of the 2 milestones, got 1 values"):
        StepScalingSchedule("energy", 1.0, [0.2, 0.4], [3.0])
    with pytest.raises(ValueError, match=r"of 'energy': values\[1\] must be finite and not negative, got -3"):
        StepScalingSchedule("energy", 1.0, [0.2, 0.4], [3.0, -3.0])


@pytest.mark.parametrize("fractions", [[], [0], [0, 0.5], [0.1, 1], [0, 10]])
def test_incomplete_pieces_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions must start with 0 and end with 1"):
        PiecewiseScalingSchedule("energy", fractions, [1.0] * len(fractions))


def test_unsorted_pieces_are_refused():
    with pytest.raises(ValueError, match=r"ascending fractions of the run in \(0, 1\), got \[0.5, 0.4\]"):
        PiecewiseScalingSchedule("energy", [0, 0.5, 0.4, 1], [1.0] * 4)
    with pytest.raises(ValueError, match="needs one value for each of the 2 fractions, got 3 values"):
        PiecewiseScalingSchedule("energy", [0, 1], [1.0] * 3)
