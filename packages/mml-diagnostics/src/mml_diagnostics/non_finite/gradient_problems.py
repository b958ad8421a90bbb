"""Problems that GradientCheckCallback reports."""

from collections import Counter
from collections.abc import Sequence

from mml_diagnostics.batch_view import sample_ids_of
from mml_diagnostics.finding import Problem
from mml_diagnostics.non_finite.bad_values import BadInput
from mml_diagnostics.non_finite.replay import StepBatch

NAMES_SHOWN = 4


def bad_sample(suspect: BadInput, seen: str, outcome: str) -> Problem:
    """Return a problem for non-finite gradients if a sample's input or target is not finite."""
    return Problem(
        check="non_finite_gradient",
        severity="error",
        message=f"{seen} Not finite in the batch: {suspect}.",
        advice=f"{outcome} Correct the sample in the data set or remove it.",
        where=suspect.sample,
    )


def bad_layer(parameter: str, seen: str, outcome: str, several_ranks: bool) -> Problem:
    """Return a problem for non-finite gradients if all inputs and targets are finite."""
    where = " on this rank" if several_ranks else ""
    advice = (
        f"{outcome} All inputs and targets of the batch are finite{where}. Check the operations from "
        f"{parameter} (the last affected parameter of the module) onwards, because gradients flow backwards. "
        "Try a smaller learning rate, gradient clipping, or precision 32."
    )
    return Problem("non_finite_gradient", "error", seen, advice, where=parameter)


def stopped(streak: int, step: int, bad: int, checked: int, places: Sequence[str]) -> Problem:
    """Return a problem for a run that is stopped after too many consecutive steps with bad gradients."""
    named = f" Reported: {shorten(places)}." if places else ""
    return Problem(
        check="stopped_by_gradient_check",
        severity="error",
        message=f"The run is stopped at step {step}. Gradients were not finite {streak} times in a row, and "
        f"on {bad} of {checked} checked steps in total.{named}",
        advice="Correct the reported samples or layers, or pass patience=None to continue anyway.",
    )


def small_gradients(steps: int, checked: int, thres: float, counts: Counter[str]) -> Problem:
    """Return a problem for gradients below the threshold."""
    most_often = ", ".join(f"{name} ({count})" for name, count in counts.most_common(NAMES_SHOWN))
    return Problem(
        check="small_gradients",
        severity="info",
        message=f"On {steps} of {checked} checked steps, a parameter had a gradient norm below {thres:g}. "
        f"Most frequent (steps): {most_often}.",
        advice="This is normal after convergence. Early in a run, check for saturated or unused layers.",
    )


def describe_batches(batches: Sequence[StepBatch]) -> str:
    """Return the names of the batches of a step, with the names of their samples if available."""
    parts = []
    for b in batches:
        ids = sample_ids_of(b.batch)
        parts.append(f"batch {b.batch_idx}" + (f" (samples {', '.join(map(repr, ids))})" if ids else ""))
    return ", ".join(parts) or "no batch"


def shorten(names: Sequence[str]) -> str:
    """Join names with commas. Of more than four names, return the first three and the last."""
    if len(names) <= NAMES_SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: NAMES_SHOWN - 1])}, ... {names[-1]}"
