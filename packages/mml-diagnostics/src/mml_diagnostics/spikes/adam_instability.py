r"""Detect signs of a coming loss spike in the moments of Adam.

Two ways in which the steps :math:`-\eta m_t / (\sqrt{v_t} + \epsilon)` become unstable are detected:

* Molybog et al. 2023, "A Theory on Adam Instability in Large-Scale Machine Learning" (arXiv:2304.09871): In a
  layer whose :math:`\sqrt{v}` has fallen to :math:`\epsilon`, gradients that are correlated in time cause the
  updates to lose their bell-shaped distribution (they accumulate at two values), and the loss explodes.
* Bai et al. 2025, "Adaptive Preconditioners Trigger Loss Spikes in Adam" (arXiv:2506.04805): If squared
  gradients are far below :math:`v` (decoupling), :math:`v` decays on its own and the preconditioned curvature
  grows until it exceeds the stability bound. Steps that alternate in sign then grow, and the loss spikes
  before :math:`v` reacts. The bound for Adam is that of Cohen et al. 2022, "Adaptive Gradient Methods at the
  Edge of Stability" (arXiv:2207.14484).

Curvature at the bound alone does not cause a warning: training can continue there for a long time without
harm while v follows the gradients. The two cases are distinguished by the expected rise of the loss, see
:func:`oscillation`.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from mml_diagnostics.finding import Problem
from mml_diagnostics.spikes.adam_trace import (
    WINDOW,
    AdamTrace,
    decoupling,
    gradient_correlation,
    sqrt_v_over_eps,
    update_bimodality,
)

NEAR_BOUND = 0.9
REACTION = 0.01  # relative increase of v per step, see oscillation
BIMODAL = 0.6
CORRELATED = 0.5
NEAR_EPS = 10.0


def adam_update(m: Tensor, v: Tensor, eps: float | Tensor) -> Tensor:
    r"""Return :math:`m / (\sqrt v + \epsilon)`, without bias correction. Any shape."""
    return m / (v.sqrt() + eps)


def stability_bound(beta1: Tensor) -> Tensor:
    r"""Return :math:`2 (1 + \beta_1) / (1 - \beta_1)`, the upper bound of lr times curvature. Any shape."""
    return 2 * (1 + beta1) / (1 - beta1)


@dataclass(frozen=True)
class Oscillation:
    """The part of the steps that changes its sign from one step to the next.

    Parameters
    ----------
    sharpness
        Preconditioned curvature along the oscillation, relative to the stability bound; NaN if no weight
        changes.
    height
        Loss that a growing oscillation would add before v reacts, in units of the present loss; NaN if the
        loss is unknown or zero.
    """

    sharpness: float
    height: float


def oscillation(trace: AdamTrace) -> Oscillation:
    r"""Measure the oscillation that grows before a spike, while the loss still falls.

    At the bound, Adam with momentum is unstable to steps that alternate in sign. At first these steps are
    small compared with the slow drift of the weights. Third differences in time amplify them by a factor of
    eight. With the steps s, the changes y of the gradient along them (differenced twice more, which keeps
    :math:`y = H s`) and :math:`D = \sqrt v + \epsilon`,

    .. math:: \text{sharpness} = \frac{\sum y s}{\sum D s^2 / \eta} \Big/ \frac{2 (1 + \beta_1)}{1 - \beta_1}

    An oscillation that grows adds its energy :math:`E = \frac12 \sum y s / 8^2` to the loss. It stops growing
    only when its gradients raise v, at the weights that dominate the denominator above. The relative increase
    of v per step is

    .. math:: r = \frac{\sum D s^2 \, (1 - \beta_2) (y / 8)^2 / v}{\sum D s^2}

    If the gradients grow by a few percent per step, v has risen by a tenth (and the curvature has fallen by a
    twentieth) when r has reached about 0.01. Energy and r grow at the same rate, so that the loss would then
    be higher by

    .. math:: \text{height} = \frac{E}{|L|} \cdot \frac{0.01}{r}

    times its present size \|L\|. If the steps are dominated by the noise of mini-batches, or v follows the
    gradients (:math:`\beta_2` of 0.95 and less), r is large and the height is below 1. All values are medians
    over the last 10 steps. Sums are over all sampled elements and are scaled to include those that are not
    sampled.
    """
    if len(trace.gradients) < WINDOW + 3:
        return Oscillation(math.nan, math.nan)
    # In units of the stable learning rate; infinite for a learning rate of zero.
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
    """Report a curvature close to the bound if v is too slow to keep the loss from doubling."""
    seen = oscillation(trace)
    if not (seen.sharpness >= NEAR_BOUND and seen.height >= 1):
        return []
    ratios = decoupling(trace).nan_to_num(math.inf)
    worst = int(ratios.argmin())
    return [
        Problem(
            check="adam_unstable_preconditioner",
            severity="warning",
            message=f"A loss spike is likely. The curvature is {100 * seen.sharpness:.0f} % of Adam's "
            f"stability bound, and v reacts slowly (the squared gradients of {trace.names[worst]} are "
            f"{float(ratios[worst]):.1e} of v). The loss of {trace.loss:.1e} could increase by a factor of "
            f"{seen.height:.0e}.",
            advice="Lower the learning rate (for example with a decaying schedule), lower beta2 so that v "
            "follows the gradient, or raise eps.",
        )
    ]


def bimodal_updates(trace: AdamTrace) -> list[Problem]:
    """Find layers with updates at two values, gradients correlated in time, and sqrt(v) near eps."""
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
                message=f"The loss may explode. The updates of {name} are no longer bell-shaped (bimodality "
                f"{shape:.2f}, 0.33 for a bell), its gradients are correlated in time ({correlation:.2f} "
                f"from step to step), and sqrt(v) is {ratio:.1e} times eps.",
                advice="Find out why its gradients are almost zero, lower eps below them, scale the loss "
                "up, or lower the learning rate.",
                where=name,
            )
        )
    return problems
