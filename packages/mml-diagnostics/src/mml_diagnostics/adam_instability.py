r"""What the moments of Adam say about a loss spike that is on its way.

Two ways in which steps :math:`-\eta m_t / (\sqrt{v_t} + \epsilon)` go wrong are watched:

* Molybog et al. 2023, "A Theory on Adam Instability in Large-Scale Machine Learning" (arXiv:2304.09871): in a
  layer whose :math:`\sqrt{v}` has come down to :math:`\epsilon`, gradients that are correlated in time make
  the updates lose their bell shape (they pile up at two values), and the loss explodes.
* Bai et al. 2025, "Adaptive Preconditioners Trigger Loss Spikes in Adam" (arXiv:2506.04805): where squared
  gradients are far below :math:`v` (decoupling), :math:`v` decays by itself and the preconditioned curvature
  grows until it passes the bound of stability; steps that alternate in sign grow, and the loss spikes, before
  :math:`v` has noticed. The bound for Adam is that of Cohen et al. 2022, "Adaptive Gradient Methods at the
  Edge of Stability" (arXiv:2207.14484).

Curvature at the bound is not enough for a warning, since training goes on there for long without harm while v
follows the gradients. What tells the two apart is how high the loss would go: see :func:`oscillation`.
"""

import math
from dataclasses import dataclass

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

NEAR_BOUND = 0.9
REACTION = 0.01  # of v in a step; see oscillation
BIMODAL = 0.6
CORRELATED = 0.5
NEAR_EPS = 10.0


def adam_update(m: Tensor, v: Tensor, eps: float | Tensor) -> Tensor:
    r"""Return :math:`m / (\sqrt v + \epsilon)`, without the corrections of the first steps. Any shape."""
    return m / (v.sqrt() + eps)


def stability_bound(beta1: Tensor) -> Tensor:
    r"""Return :math:`2 (1 + \beta_1) / (1 - \beta_1)`, what lr times curvature must stay below. Any shape."""
    return 2 * (1 + beta1) / (1 - beta1)


@dataclass(frozen=True)
class Oscillation:
    """The part of the steps that changes its sign from one step to the next.

    Parameters
    ----------
    sharpness
        Preconditioned curvature along it, relative to the bound of stability; NaN where nothing moves.
    height
        How many times the present loss it would add before v reacts, were it to grow; NaN where the loss is
        not known, or zero.
    """

    sharpness: float
    height: float


def oscillation(trace: AdamTrace) -> Oscillation:
    r"""Measure the oscillation that grows before a spike, while the loss still falls.

    At the bound, Adam with momentum is unstable to steps that alternate in sign. These are small at first,
    beside the slow drift of the weights; third differences in time bring them out, eight times as large. With
    the steps s, the changes y of the gradient along them (differenced twice more, which keeps y = H s) and
    :math:`D = \sqrt v + \epsilon`,

    .. math:: \text{sharpness} = \frac{\sum y s}{\sum D s^2 / \eta} \Big/ \frac{2 (1 + \beta_1)}{1 - \beta_1}

    An oscillation that grows adds its energy :math:`E = \frac12 \sum y s / 8^2` to the loss. It is held up
    only when its gradients, at the weights that count in the denominator above, raise v:

    .. math:: r = \frac{\sum D s^2 \, (1 - \beta_2) (y / 8)^2 / v}{\sum D s^2}

    is by how much they do so in a step. While they grow by a few per cent in a step, v rises by a tenth (and
    the curvature falls back by a twentieth) about when r has come to 0.01. Energy and r grow alike, so the
    loss would then be higher by

    .. math:: \text{height} = \frac{E}{|L|} \cdot \frac{0.01}{r}

    of its present size \|L\|. Where the noise of mini-batches makes the steps, or v follows the gradients
    (:math:`\beta_2` of 0.95 and less), r is large and the height below 1. All are medians over the last 10
    steps; sums go over all sampled elements, and stand for those that are not sampled.
    """
    if len(trace.gradients) < WINDOW + 3:
        return Oscillation(math.nan, math.nan)
    # In units of the learning rate that is stable; infinite for a learning rate of zero.
    scale = (stability_bound(trace.beta1) / trace.lr / trace.share)[trace.layer]
    v = trace.v.double()
    live = (v > 0) & scale.isfinite()
    s, y = (x[-WINDOW - 3 :, live].double().diff(n=3, dim=0) for x in (trace.parameters, trace.gradients))
    share, layer, v = trace.share[trace.layer[live]], trace.layer[live], v[live]
    weight = (v.sqrt() + trace.eps[layer]) * scale[live] * s.square()
    allowed, work = weight.sum(1), (y * s / share).sum(1)
    moves = allowed > 0
    if not bool(moves.any()):
        return Oscillation(math.nan, math.nan)
    reaction = (weight * (1 - trace.beta2[layer]) * (y / 8).square() / v).sum(1) / allowed
    energy = work / 2 / 8**2
    height = float((energy * REACTION / reaction)[moves].median()) / (abs(trace.loss) or math.nan)
    return Oscillation(float((work / allowed)[moves].median()), height)


def unstable_preconditioner(trace: AdamTrace) -> list[Problem]:
    """Find curvature close to the bound, and v too slow to keep the loss from doubling."""
    seen = oscillation(trace)
    if not (seen.sharpness >= NEAR_BOUND and seen.height >= 1):
        return []
    ratios = decoupling(trace).nan_to_num(math.inf)
    worst = int(ratios.argmin())
    return [
        Problem(
            check="adam_unstable_preconditioner",
            severity="warning",
            message=f"A loss spike is likely: the curvature is at {100 * seen.sharpness:.0f} % of what "
            f"Adam's steps are stable for, and v is slow to react (squared gradients in {trace.names[worst]} "
            f"are {float(ratios[worst]):.1e} of it): the loss of {trace.loss:.1e} could rise "
            f"{seen.height:.0e} times.",
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
