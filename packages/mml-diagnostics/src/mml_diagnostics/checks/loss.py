"""Checks of the loss over time."""

import math
from collections.abc import Sequence

from mml_diagnostics.finding import Problem


def loss_not_falling(history: Sequence[float], last: int = 10, min_fall: float = 1e-3) -> list[Problem]:
    """Check whether the loss fell over the last checks.

    The loss did not fall if the minimum of the last ``last`` values is not below the minimum of all earlier
    values by the relative amount ``min_fall``. The severity is ``warning`` if the loss has never fallen by 5
    % of its first value, otherwise ``info``.

    Parameters
    ----------
    history
        Mean training losses between two checks, oldest first.
    last
        Number of checks that count as recent.
    min_fall
        Smallest relative decrease that counts.
    """
    if not all(math.isfinite(loss) for loss in history[-1:]):
        return [
            Problem(
                check="loss_not_finite",
                severity="error",
                message="The training loss was NaN or Inf at least once since the previous check.",
                advice="Use GradientCheckCallback, which reports the samples and layers, and lower the "
                "learning rate.",
            )
        ]
    finite = [loss for loss in history if math.isfinite(loss)]
    if len(finite) <= last:
        return []
    best_before, best_now = min(finite[:-last]), min(finite[-last:])
    if best_before - best_now > min_fall * abs(best_before):
        return []
    learned = finite[0] - min(finite) >= 0.05 * abs(finite[0]) > 0
    return [
        Problem(
            check="loss_not_falling",
            severity="info" if learned else "warning",
            message=f"The mean training loss has not decreased over the last {last} checks: best "
            f"{best_now:.4g}, best before them {best_before:.4g}, first {finite[0]:.4g}.",
            advice="Lower the learning rate, or stop the training."
            if learned
            else "The model has not learned anything yet. Check whether it can overfit one batch "
            "(overfit_batches=1) and whether the targets are normalized, and try other learning rates.",
        )
    ]
