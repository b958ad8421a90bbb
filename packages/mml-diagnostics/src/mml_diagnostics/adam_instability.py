r"""What the moments of Adam say about a loss spike that is on its way.

Two ways in which steps :math:`-\eta m_t / (\sqrt{v_t} + \epsilon)` go wrong are watched:

* Molybog et al. 2023, "A Theory on Adam Instability in Large-Scale Machine Learning" (arXiv:2304.09871): in a
  layer whose :math:`\sqrt{v}` has come down to :math:`\epsilon`, gradients that are correlated in time make
  the updates lose their bell shape (they pile up at two values), and the loss explodes.
* Bai et al. 2025, "Adaptive Preconditioners Trigger Loss Spikes in Adam" (arXiv:2506.04805): where squared
  gradients are far below :math:`v` (decoupling), :math:`v` decays by itself and the preconditioned curvature
  grows until it passes the bound of stability, and the loss spikes. The bound for Adam is that of Cohen et
  al. 2022, "Adaptive Gradient Methods at the Edge of Stability" (arXiv:2207.14484). Curvature at the bound is
  not enough: where :math:`v` follows the gradient, training goes on there for long without harm.

What is not foreseen are spikes that come from elsewhere: from a bad batch, or where v follows the gradients
(beta2 of 0.95 and less) and a spike comes and goes within some steps.
"""

import math

from torch import Tensor

from mml_diagnostics.adam_trace import (
    WINDOW,
    AdamTrace,
    decoupling,
    gradient_correlation,
    sqrt_v_over_eps,
    update_bimodality,
)
from mml_diagnostics.finding import Problem

DECOUPLED = 1e-2
NEAR_BOUND = 0.9
BIMODAL = 0.6
CORRELATED = 0.5
NEAR_EPS = 10.0


def adam_update(m: Tensor, v: Tensor, eps: float | Tensor) -> Tensor:
    r"""Return :math:`m / (\sqrt v + \epsilon)`, without the corrections of the first steps. Any shape."""
    return m / (v.sqrt() + eps)


def stability_bound(beta1: Tensor) -> Tensor:
    r"""Return :math:`2 (1 + \beta_1) / (1 - \beta_1)`, what lr times curvature must stay below. Any shape."""
    return 2 * (1 + beta1) / (1 - beta1)


def sharpness(trace: AdamTrace) -> float:
    r"""Preconditioned curvature along the steps that change their sign, relative to the bound of stability.

    At the bound, Adam with momentum is unstable to steps that alternate in sign. These are small at first,
    beside the slow drift of the weights; third differences in time bring them out. With the steps s, the
    changes y of the gradient along them (differenced twice more, which keeps y = H s) and :math:`D = \sqrt v
    + \epsilon`,

    .. math:: \frac{\sum y \cdot s}{\sum s \cdot D s / \eta} \Big/ \frac{2 (1 + \beta_1)}{1 - \beta_1},

    the median over the last 10 steps. Sums go over all sampled elements.

    Returns
    -------
    float
        NaN where fewer than 13 steps are known, or nothing moves.
    """
    if len(trace.gradients) < WINDOW + 3:
        return math.nan
    scale = (stability_bound(trace.beta1) / trace.lr)[trace.layer]  # infinite for a learning rate of zero
    d = trace.v.double().sqrt() + trace.eps[trace.layer]
    live = (d > 0) & scale.isfinite()
    s, y = (x[-WINDOW - 3 :, live].double().diff(n=3, dim=0) for x in (trace.parameters, trace.gradients))
    allowed = (s * (d * scale)[live] * s).sum(1)
    ratio = ((s * y).sum(1) / allowed)[allowed > 0]
    return float(ratio.median()) if len(ratio) else math.nan


def unstable_preconditioner(trace: AdamTrace) -> list[Problem]:
    """Find gradients far below sqrt(v), which then shrinks by itself, and curvature close to the bound."""
    ratios = decoupling(trace)
    known = ratios[~ratios.isnan()]
    if not len(known):
        return []
    median, seen = float(known.median()), sharpness(trace)
    if not (median <= DECOUPLED and seen >= NEAR_BOUND):
        return []
    worst = int(ratios.nan_to_num(math.inf).argmin())
    return [
        Problem(
            check="adam_unstable_preconditioner",
            severity="warning",
            message=f"A loss spike is likely: squared gradients are {median:.1e} of Adam's v (least in "
            f"{trace.names[worst]}: {float(ratios[worst]):.1e}), so v shrinks by itself and steps grow; the "
            f"curvature has come to {100 * seen:.0f} % of what they are stable for.",
            advice="Lower the learning rate (a schedule that decays does), lower beta2 so that v follows the "
            "gradient, or raise eps.",
        )
    ]


def bimodal_updates(trace: AdamTrace) -> list[Problem]:
    """Find updates piled up at two values, with gradients correlated in time, and sqrt(v) near eps."""
    problems = []
    ratios, shapes = sqrt_v_over_eps(trace), update_bimodality(trace)
    for i in ((ratios < NEAR_EPS) & (shapes > BIMODAL)).nonzero().flatten().tolist():
        correlation = gradient_correlation(trace, i)
        if not correlation > CORRELATED:
            continue
        name, ratio, shape = trace.names[i], float(ratios[i]), float(shapes[i])
        problems.append(
            Problem(
                check="adam_bimodal_updates",
                severity="warning",
                message=f"The updates of {name} have lost their bell shape (bimodality {shape:.2f}; a "
                f"bell has 0.33), its gradients are correlated in time ({correlation:.2f} from step to "
                f"step), and sqrt(v) is {ratio:.1e} times eps: the loss may explode.",
                advice="Its gradients are almost zero: look why, lower eps below them, scale the loss "
                "up, or lower the learning rate.",
                where=name,
            )
        )
    return problems
