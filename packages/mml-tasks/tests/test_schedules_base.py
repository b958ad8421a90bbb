import builtins
import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import (
    BaseScalingSchedule,
    CosineScalingSchedule,
    ExponentialScalingSchedule,
    LinearScalingSchedule,
    PiecewiseScalingSchedule,
    SequentialScalingSchedule,
    SigmoidScalingSchedule,
    StepScalingSchedule,
)
from mml_tasks.weights.schedules.base import fraction_of

weights = st.floats(0, 1e6)
positive = st.floats(1e-9, 1e6)
inner = st.floats(1e-3, 1 - 1e-3)
frequency = st.sampled_from(["step", "epoch"])
milestones = st.lists(inner, max_size=5, unique=True).map(sorted)


@st.composite
def two_ended(draw):
    """Return a monotonic schedule between two values."""
    kind = draw(st.sampled_from(["linear", "cosine", "sigmoid", "exponential"]))
    if kind == "exponential":
        return ExponentialScalingSchedule("energy", draw(positive), draw(positive), "step")
    ends = ("energy", draw(weights), draw(weights))
    if kind == "sigmoid":
        curvature = draw(st.floats(5e-324, 1 - 1e-9) | st.sampled_from([5e-324, 1e-300, 5e-7, 1 - 2**-53]))
        return SigmoidScalingSchedule(*ends, center_frac=draw(inner), curvature=curvature)
    return {"linear": LinearScalingSchedule, "cosine": CosineScalingSchedule}[kind](*ends, "step")


@st.composite
def by_points(draw):
    points = draw(milestones)
    if draw(st.booleans()):
        values = draw(st.lists(weights, min_size=len(points), max_size=len(points)))
        return StepScalingSchedule("energy", draw(weights), points, values, "step")
    fractions = [0.0, *points, 1.0]
    values = draw(st.lists(weights, min_size=len(fractions), max_size=len(fractions)))
    return PiecewiseScalingSchedule("energy", fractions, values)


@st.composite
def chained(draw):
    points = draw(milestones)
    parts = [draw(two_ended() | by_points()) for _ in range(len(points) + 1)]
    return SequentialScalingSchedule(parts, points)


anything = two_ended() | by_points() | chained()


@given(anything, st.integers(1, 60))
def test_schedule_reaches_both_ends(schedule, total):
    schedule.set_grid(total)
    values = [schedule.step() for _ in range(total)]
    assert values[0] == schedule.initial_value
    if total > 1:
        assert values[-1] == schedule.end_value
    with pytest.raises(StopIteration, match=f"all {total} steps have been taken"):
        schedule.step()


@given(anything, st.integers(1, 60))
def test_steps_equal_value_at(schedule, total):
    schedule.set_grid(total)
    assert len(schedule) == len(schedule.grid) == total
    assert [schedule.step() for _ in range(total)] == [schedule.value_at(f) for f in schedule.grid.tolist()]
    schedule.set_grid(total)
    assert schedule.step() == schedule.initial_value, "set_grid starts again"


@given(two_ended(), st.integers(2, 400))
def test_schedule_is_monotonic(schedule, total):
    values = [schedule.value_at(fraction_of(i, total)) for i in range(total)]
    assert values == sorted(values, reverse=schedule.initial_value > schedule.end_value)


@given(anything, st.floats(0, 1))
def test_value_depends_on_fraction_only(schedule, fraction):
    value = schedule.value_at(fraction)
    assert math.isfinite(value)
    assert value >= 0
    schedule.set_grid(7)
    schedule.step()
    assert schedule.value_at(fraction) == value
    assert pickle.loads(pickle.dumps(schedule)).value_at(fraction) == value
    assert copy.deepcopy(schedule).step() == schedule.step()


@given(anything)
def test_repr_rebuilds_schedule(schedule):
    again = eval(repr(schedule), dict(globals()))
    fractions = [0, 0.1, 0.5, 0.9, 1]
    assert [again.value_at(f) for f in fractions] == [schedule.value_at(f) for f in fractions]
    assert (again.key, again.step_frequency) == (schedule.key, schedule.step_frequency)


@given(st.integers(1, 1000), st.integers(0, 2000))
def test_fractions_stay_at_one(total, index):
    fraction = fraction_of(index, total)
    assert 0 <= fraction <= 1
    if total > 1:
        assert (fraction == 1) == (index >= total - 1)
        assert (fraction == 0) == (index == 0)
    else:
        assert fraction == 0, "a run of one step is at its beginning"


@pytest.mark.parametrize("fraction", [-0.1, 1.0000001, math.nan, math.inf])
def test_fractions_outside_run_are_refused(fraction):
    with pytest.raises(ValueError, match=r"the fraction of a run is from 0 to 1, got"):
        LinearScalingSchedule("energy", 1.0, 2.0).value_at(fraction)


def test_length_requires_grid():
    schedule = LinearScalingSchedule("energy", 1.0, 2.0)
    assert schedule, "a schedule without a length is true all the same"
    for use in (len, lambda s: s.grid, lambda s: s.step()):
        with pytest.raises(ValueError, match=r"LinearScalingSchedule has no length yet. Call set_grid"):
            use(schedule)


@pytest.mark.parametrize("total", [0, -1, 2.5, True, "4", None])
def test_invalid_lengths_are_refused(total):
    with pytest.raises(ValueError, match="total_steps must be a positive whole number, got"):
        LinearScalingSchedule("energy", 1.0, 2.0).set_grid(total)


@pytest.mark.parametrize("value", [-1.0, -1e-9, math.nan, math.inf, "1", None, True])
@pytest.mark.parametrize("name", ["initial_value", "end_value"])
def test_invalid_weights_are_refused(name, value):
    if (name, value) == ("end_value", None):
        return  # means: constant
    values = {"initial_value": 1.0, "end_value": 1.0, name: value}
    with pytest.raises(ValueError, match=f"LinearScalingSchedule of 'energy': {name} must be"):
        LinearScalingSchedule("energy", **values)


def test_negative_weight_error_names_remedy():
    with pytest.raises(ValueError, match=r"got -2.0. To leave a target out, use 0"):
        CosineScalingSchedule("energy", -2.0, 1.0)


@pytest.mark.parametrize("frequency", ["batch", "", None, "Step", 1])
def test_unknown_frequencies_are_refused(frequency):
    with pytest.raises(ValueError, match=f"step_frequency must be 'step' or 'epoch', got {frequency!r}"):
        CosineScalingSchedule("energy", 1.0, 2.0, frequency)


@pytest.mark.parametrize("key", ["", None, 3])
def test_invalid_keys_are_refused(key):
    with pytest.raises(ValueError, match=f"key must be the name of a target, got {key!r}"):
        LinearScalingSchedule(key, 1.0)


def test_custom_schedule_needs_one_method():
    class Square(BaseScalingSchedule):
        def __init__(self, key):
            super().__init__(key, 0.0, 4.0, "epoch")

        def value_between(self, fraction):
            return 4 * fraction**2

    square = Square("force")
    square.set_grid(3)
    assert [square.step() for _ in range(3)] == [0.0, 1.0, 4.0]
    assert repr(square) == "Square(key='force')"


@pytest.mark.filterwarnings("ignore")
def test_plot_draws_schedule():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    pyplot.switch_backend("agg")
    schedule = CosineScalingSchedule("energy", 1.0, 3.0)
    ax = schedule.plot(points=11)
    assert LinearScalingSchedule("force", 2.0, 0.0).plot(ax) is ax
    energy, force = ax.lines
    assert energy.get_ydata()[[0, 5, 10]].tolist() == [1.0, 2.0, 3.0]
    assert (force.get_ydata()[0], force.get_ydata()[-1]) == (2.0, 0.0)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["energy", "force"]
    pyplot.close(ax.figure)


def test_missing_matplotlib_names_install_command(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        LinearScalingSchedule("energy", 1.0, 2.0).plot()
