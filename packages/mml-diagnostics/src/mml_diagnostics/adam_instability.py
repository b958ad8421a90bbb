r"""What the moments of Adam say about a loss spike that is on its way.

Adam moves a weight by :math:`-\eta u_t` with :math:`u_t = m_t / (\sqrt{v_t} + \epsilon)`. Two ways in which
that goes wrong are watched:

* Molybog et al. 2023, "A Theory on Adam Instability in Large-Scale Machine Learning" (arXiv:2304.09871): in a
  layer whose :math:`\sqrt{v}` has come down to :math:`\epsilon`, gradients that are correlated in time make
  the updates lose their bell shape (they pile up at two values), and the loss explodes.
* Bai et al. 2025, "Adaptive Preconditioners Trigger Loss Spikes in Adam" (arXiv:2506.04805): where squared
  gradients are far below :math:`v` (decoupling), :math:`v` decays by itself and the preconditioned curvature
  grows until the step is unstable. The bound for Adam is that of Cohen et al. 2022, "Adaptive Gradient
  Methods at the Edge of Stability" (arXiv:2207.14484).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mml_diagnostics.autocorrelation import autocorrelation, bimodality
from mml_diagnostics.finding import Problem

WINDOW = 10
DECOUPLED = 1e-2
NEAR_BOUND = 0.75
GROWING = 2.0
BIMODAL = 0.6
CORRELATED = 0.5
NEAR_EPS = 10.0
FEWEST_UPDATES = 64  # fewer values have no shape to speak of


def adam_update(m: Tensor, v: Tensor, eps: float | Tensor) -> Tensor:
    r"""Return :math:`m / (\sqrt v + \epsilon)`, without the corrections of the first steps. Any shape."""
    return m / (v.sqrt() + eps)


@dataclass(frozen=True)
class LayerState:
    """What is known of the n sampled elements of one parameter over the last T steps.

    Parameters
    ----------
    gradients, parameters
        [T, n], of the same steps.
    updates
        [T, n], the u of the steps before.
    v
        [n], the second moment, corrected for the first steps.
    lr, eps, beta1
        The optimizer's options for this parameter.
    """

    gradients: Tensor
    parameters: Tensor
    updates: Tensor
    v: Tensor
    lr: float
    eps: float
    beta1: float

    @property
    def decoupling(self) -> float:
        """Median over the last 10 steps of mean(g^2) / mean(v), of elements with a gradient; NaN for none."""
        g = self.gradients[-WINDOW:]
        live = (g != 0).any(0) & (self.v > 0)
        if not bool(live.any()):
            return math.nan
        return float((g[:, live].double().square().mean(1) / self.v[live].double().mean()).median())

    @property
    def sqrt_v_over_eps(self) -> float:
        """Median of sqrt(v) / eps over elements with a v; NaN for none, infinite for an eps of zero."""
        live = self.v[self.v > 0]
        if live.numel() == 0:
            return math.nan
        return float(live.sqrt().median()) / self.eps if self.eps > 0 else math.inf

    @property
    def gradient_correlation(self) -> float:
        """Mean autocorrelation of the gradients at lag 1; NaN where none moves or there is one step only."""
        if len(self.gradients) < 2:
            return math.nan
        r = autocorrelation(self.gradients)
        moving = r[0] > 0
        return float(r[1, moving].mean()) if bool(moving.any()) else math.nan

    @property
    def update_bimodality(self) -> float:
        """Sarle's coefficient of the last 10 steps' updates; NaN for fewer than 64 that are not zero."""
        u = self.updates[-WINDOW:]
        u = u[u != 0]
        return bimodality(u) if u.numel() >= FEWEST_UPDATES else math.nan


def stability_bound(beta1: float) -> float:
    r"""Return :math:`2 (1 + \beta_1) / (1 - \beta_1)`, what lr times curvature must stay below."""
    return 2 * (1 + beta1) / (1 - beta1) if beta1 < 1 else math.inf


@dataclass(frozen=True)
class Oscillation:
    """The part of the steps that changes its sign from one step to the next.

    Parameters
    ----------
    sharpness
        Preconditioned curvature along it, relative to the bound of stability.
    growth
        How much larger it was in the last 10 steps than in the 10 before.
    """

    sharpness: float
    growth: float


def oscillation(layers: Sequence[LayerState]) -> Oscillation | None:
    r"""Measure the oscillation that grows before a spike, while the loss still falls.

    At the bound, Adam with momentum is unstable to steps that alternate in sign. These are small at first,
    beside the slow drift of the weights; third differences in time bring them out. With the steps s, the
    changes y of the gradient along them (differenced twice more, which keeps y = H s) and :math:`D = \sqrt v
    + \epsilon`,

    .. math:: \text{sharpness} = \frac{\sum y \cdot s}{\sum s \cdot D s / \eta}
        \Big/ \frac{2 (1 + \beta_1)}{1 - \beta_1},
        \qquad \text{growth} = \frac{|D^{-1/2} y|_\text{last 10}}{|D^{-1/2} y|_\text{10 before}}

    the sharpness being the median over the last 10 steps. The noise of mini-batches looks like steps at the
    bound, too, but does not grow.

    Returns
    -------
    Oscillation or None
        None where fewer than 23 steps are known, or nothing moves.
    """
    if not layers or min(len(layer.gradients) for layer in layers) < 2 * WINDOW + 3:
        return None
    work = torch.zeros(2 * WINDOW, dtype=torch.float64)
    allowed, size = work.clone(), work.clone()
    for layer in layers:
        if layer.lr <= 0:
            continue
        d = (layer.v.double().sqrt() + layer.eps).cpu()
        live = d > 0
        s, y = (
            x[-2 * WINDOW - 3 :].cpu().double()[:, live].diff(n=3, dim=0)
            for x in (layer.parameters, layer.gradients)
        )
        work += (s * y).sum(1)
        allowed += (s * d[live] * s).sum(1) / layer.lr * stability_bound(layer.beta1)
        size += (y.square() / d[live]).sum(1)
    before, last = size[:WINDOW].sum(), size[WINDOW:].sum()
    moved = allowed[WINDOW:] > 0
    if not bool(moved.any()) or not bool(before > 0):
        return None
    sharpness = (work[WINDOW:][moved] / allowed[WINDOW:][moved]).median()
    return Oscillation(float(sharpness), math.sqrt(float(last / before)))


def decoupling_of(layers: Mapping[str, LayerState]) -> dict[str, float]:
    """Return ``decoupling`` of the layers that have one."""
    return {name: ratio for name, layer in layers.items() if not math.isnan(ratio := layer.decoupling)}


def unstable_preconditioner(layers: Mapping[str, LayerState]) -> list[Problem]:
    """Find gradients far below sqrt(v) and an oscillation at the bound that doubles in ten steps."""
    ratios = decoupling_of(layers)
    if not ratios:
        return []
    median = float(torch.tensor(list(ratios.values()), dtype=torch.float64).median())
    if median > DECOUPLED:
        return []
    seen = oscillation(list(layers.values()))
    if seen is None or seen.sharpness < NEAR_BOUND or seen.growth < GROWING:
        return []
    worst = min(ratios, key=lambda name: ratios[name])
    return [
        Problem(
            check="adam_unstable_preconditioner",
            severity="warning",
            message=f"A loss spike is likely: squared gradients are {median:.1e} of Adam's v (least in "
            f"{worst}: {ratios[worst]:.1e}), so it shrinks by itself; steps that alternate in sign have "
            f"grown {seen.growth:.1f} times in {WINDOW} steps, at {100 * seen.sharpness:.0f} % of the "
            "curvature that the learning rate is stable for.",
            advice="Lower the learning rate (a schedule that decays does), lower beta2 so that v follows the "
            "gradient, or raise eps.",
        )
    ]


def bimodal_updates(layers: Mapping[str, LayerState]) -> list[Problem]:
    """Find updates piled up at two values, with gradients correlated in time, and sqrt(v) near eps."""
    problems = []
    for name, layer in layers.items():
        ratio, shape = layer.sqrt_v_over_eps, layer.update_bimodality
        if not (ratio < NEAR_EPS and shape > BIMODAL):
            continue
        correlation = layer.gradient_correlation
        if correlation > CORRELATED:
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
