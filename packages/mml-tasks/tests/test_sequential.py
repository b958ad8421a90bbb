import pytest
from mml_tasks import (
    CosineScalingSchedule,
    LinearScalingSchedule,
    SequentialScalingSchedule,
    StepScalingSchedule,
)


def linear(initial, end, key="energy", frequency="step"):
    return LinearScalingSchedule(key, initial, end, frequency)


def test_schedules_divide_run():
    chain = SequentialScalingSchedule([linear(0, 10), linear(4, 2)], [0.5])
    chain.set_grid(9)
    assert [chain.step() for _ in range(9)] == [0, 2.5, 5, 7.5, 4, 3.5, 3, 2.5, 2]
    assert (chain.key, chain.step_frequency) == ("energy", "step")


def test_chains_can_be_nested():
    inner = SequentialScalingSchedule([linear(1, 2), CosineScalingSchedule("energy", 2, 4)], [0.5])
    outer = SequentialScalingSchedule([inner, linear(4, 0)], [0.8])
    assert [outer.value_at(f) for f in (0, 0.2, 0.4, 0.6, 0.8, 1)] == pytest.approx([1, 1.5, 2, 3, 4, 0])


def test_single_schedule_is_unchanged():
    alone = linear(1, 5)
    chain = SequentialScalingSchedule([alone], [])
    for fraction in (0, 0.1, 0.5, 1):
        assert chain.value_at(fraction) == alone.value_at(fraction)


@pytest.mark.parametrize(
    ("schedules", "milestones", "message"),
    [
        ([], [], "needs at least one schedule"),
        (
            [linear(0, 1), linear(0, 1, key="force")],
            [0.5],
            r"must have the same key, got \['energy', 'force'\]",
        ),
        (
            [linear(0, 1), linear(0, 1, frequency="epoch")],
            [0.5],
            r"must have the same step_frequency, got \['epoch', 'step'\]",
        ),
        ([linear(0, 1)], [0.5], "got 1 milestones for 1 schedules"),
        ([linear(0, 1), linear(0, 1)], [], "got 0 milestones for 2 schedules"),
        (
            [linear(0, 1), linear(0, 1)],
            [1.0],
            r"of 'energy': milestones must be ascending fractions of the run in \(0, 1\), got \[1.0\]",
        ),
        ([linear(0, 1), linear(0, 1), linear(0, 1)], [0.5, 0.5], "must be ascending fractions"),
    ],
)
def test_invalid_chains_are_refused(schedules, milestones, message):
    with pytest.raises(ValueError, match=message):
        SequentialScalingSchedule(schedules, milestones)


def test_milestones_are_relative_to_part():
    chain = SequentialScalingSchedule(
        [linear(0, 1), StepScalingSchedule("energy", 5, [0.5], [9], "step")], [0.5]
    )
    assert [chain.value_at(f) for f in (0.5, 0.74, 0.75, 1)] == [5, 5, 9, 9]
