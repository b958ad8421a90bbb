"""Checks of the labels in a batch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mml_diagnostics.batch_view import look_up, name_sample, sample_ids_of
from mml_diagnostics.checks.runner import NotApplicableError
from mml_diagnostics.finding import Problem
from mml_diagnostics.non_finite.bad_values import owners_of_rows

MIN_ROWS = 8  # minimum number of values for a meaningful median deviation


def targets_of(batch: object) -> dict[str, Tensor]:
    """Return the float targets of the batch by name: those in ``targets``, or else ``y``."""
    targets = look_up(batch, "targets")
    found = targets if isinstance(targets, Mapping) else {"y": look_up(batch, "y")}
    return {
        str(name): value.detach()
        for name, value in found.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim
    }


def target_outliers(batch: object, limit: float = 20.0, learned: Any = None) -> list[Problem]:
    """Find samples whose target is far from the targets of the rest of the batch.

    The distance of a target is its distance from the median, in units of 1.4826 times the median of all these
    distances (the standard deviation, for a normal distribution). For rows with several numbers, such as
    forces, the norm of the row is used. Per-atom targets have long tails, so their outliers have severity
    ``info``.

    Parameters
    ----------
    batch
        Batch with ``targets`` (name -> tensor, one row per structure or atom), or ``y``.
    limit
        Largest reasonable distance.
    learned
        Names of the targets that the module learns (its ``task_keys``). ``None`` checks all targets.

    Raises
    ------
    NotApplicableError
        If the batch has no float targets.
    """
    targets = {name: x for name, x in targets_of(batch).items() if learned is None or name in learned}
    if not targets:
        raise NotApplicableError("the batch does not have floating-point targets")
    ids = sample_ids_of(batch)
    owners = owners_of_rows(batch, None if ids is None else len(ids))["structures or atoms"]
    problems: dict[str, Problem] = {}
    for key, values in targets.items():
        rows, distances = distances_from_median(values)
        owner = owners.get(len(rows))
        of_structures = owner is None or len(owner.unique()) == len(rows)
        for row in (distances > limit).nonzero().flatten().tolist():
            where = f"row {row}" if owner is None else name_sample(ids, int(owner[row]))
            problem = Problem(
                check="target_outliers",
                severity="warning" if of_structures else "info",
                message=f"Target {key} of {where} is {float(rows[row]):.4g}, {float(distances[row]):.0f} "
                f"times the usual distance from the batch's median ({float(rows.nanmedian()):.4g}).",
                advice="Check the unit and the sign of this label, and the convergence of its "
                "calculation. One such sample dominates the gradient; a Huber loss limits its influence.",
                where=where,
            )
            problems.setdefault(where, problem)
    return list(problems.values())


def distances_from_median(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return one number per row of ``values``, and its distance from their median in robust deviations.

    Both are [n] in float64, with NaN for rows that are not finite. All distances are zero if fewer than eight
    rows are finite or more than half of them are equal.
    """
    flat = values.double().cpu().reshape(len(values), -1)
    rows = flat[:, 0] if flat.shape[1] == 1 else flat.norm(dim=1)
    rows = torch.where(rows.isfinite(), rows, torch.nan)
    distances = (rows - rows.nanmedian()).abs()
    usual = 1.4826 * distances.nanmedian()
    if int(rows.isfinite().sum()) < MIN_ROWS or float(usual) == 0:
        return rows, torch.zeros_like(rows)
    return rows, distances / usual
