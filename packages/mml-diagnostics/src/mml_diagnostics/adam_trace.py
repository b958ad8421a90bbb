r"""What a sample of the weights that Adam moves did over its last steps, and what is read from it by layer.

Adam moves a weight by :math:`-\eta u_t` with :math:`u_t = m_t / (\sqrt{v_t} + \epsilon)`. A layer is one
parameter of the module.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mml_diagnostics.autocorrelation import autocorrelation

WINDOW = 10  # steps
FEWEST_UPDATES = 64  # fewer values have no shape to speak of


@dataclass(frozen=True)
class AdamTrace:
    """What is known of n sampled elements of L layers over the last T steps.

    Parameters
    ----------
    names
        Of the layers.
    layer
        [n] index of the layer of each element.
    gradients, parameters
        [T, n], of the same steps.
    updates
        [T, n], the u of the steps before.
    v
        [n], the second moment, corrected for the first steps.
    lr, eps, beta1, beta2
        [L], the optimizer's options for each layer.
    share
        [L], which share of the elements of each layer is sampled.
    loss
        Median of the last losses; NaN where they are not known.
    """

    names: tuple[str, ...]
    layer: Tensor
    gradients: Tensor
    parameters: Tensor
    updates: Tensor
    v: Tensor
    lr: Tensor
    eps: Tensor
    beta1: Tensor
    beta2: Tensor
    share: Tensor
    loss: float

    def add_up(self, values: Tensor) -> Tensor:
        """Sum [..., n] over the elements of each layer, to [..., L] float64."""
        total = values.new_zeros((*values.shape[:-1], len(self.names)), dtype=torch.float64)
        return total.index_add_(-1, self.layer, values.double())


def decoupling(trace: AdamTrace) -> Tensor:
    """[L] median over the last 10 steps of sum(g^2) / sum(v), of elements with a gradient; NaN for none."""
    g = trace.gradients[-WINDOW:].double()
    live = (g != 0).any(0) & (trace.v > 0)
    ratio = trace.add_up(g.square() * live) / trace.add_up(trace.v * live)
    return ratio.median(0).values


def sqrt_v_over_eps(trace: AdamTrace) -> Tensor:
    """[L] geometric mean of sqrt(v) / eps over elements with a v; NaN for none, infinite for eps zero."""
    live = trace.v > 0
    logs = torch.where(live, trace.v.double().log() / 2, 0.0)
    return (trace.add_up(logs) / trace.add_up(live)).exp() / trace.eps


def update_bimodality(trace: AdamTrace) -> Tensor:
    """[L] Sarle's coefficient of the last 10 steps' updates; NaN for fewer than 64 that are not zero.

    See :func:`mml_diagnostics.autocorrelation.bimodality`.
    """
    u = trace.updates[-WINDOW:].double()
    live = u != 0
    count = trace.add_up(live).sum(0)
    mean = trace.add_up(u).sum(0) / count
    x = torch.where(live, u - mean[trace.layer], 0.0)
    second, third, fourth = (trace.add_up(x**k).sum(0) / count for k in (2, 3, 4))
    shape = (third.square() / second**3 + 1) / (fourth / second.square())
    return torch.where(count >= FEWEST_UPDATES, shape, math.nan)


def gradient_correlation(trace: AdamTrace, layer: int) -> float:
    """Mean autocorrelation of a layer's gradients at lag 1; NaN where none moves, or of one step."""
    if len(trace.gradients) < 2:
        return math.nan
    r = autocorrelation(trace.gradients[:, trace.layer == layer])
    moving = r[0] > 0
    return float(r[1, moving].mean()) if bool(moving.any()) else math.nan
