r"""Values of sampled weights and Adam's moments over the last steps, and statistics of them by layer.

Adam changes a weight by :math:`-\eta u_t` with :math:`u_t = m_t / (\sqrt{v_t} + \epsilon)`. A layer is one
parameter of the module.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mml_diagnostics.spikes.autocorrelation import autocorrelation

WINDOW = 10  # steps
FEWEST_UPDATES = 64  # fewer values do not have a meaningful distribution


@dataclass(frozen=True)
class AdamTrace:
    """Recorded values of n sampled elements in L layers over the last T steps.

    Parameters
    ----------
    names
        Names of the layers.
    layer
        Index of the layer of each element, [n].
    gradients, parameters
        Values at the same steps, [T, n].
    updates
        Updates u of the preceding steps, [T, n].
    v
        Second moment with bias correction, [n].
    lr, eps, beta1, beta2
        Options of the optimizer for each layer, [L].
    share
        Share of the elements of each layer that is sampled, [L].
    loss
        Median of the last losses; NaN if unknown.
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
        """Sum ``values`` [..., n] over the elements of each layer, and return [..., L] in float64."""
        total = values.new_zeros((*values.shape[:-1], len(self.names)), dtype=torch.float64)
        return total.index_add_(-1, self.layer, values.double())


def decoupling(trace: AdamTrace) -> Tensor:
    """Return the median over the last 10 steps of sum(g^2) / sum(v) of each layer, [L].

    Only elements with a gradient are used. NaN if a layer has no gradient.
    """
    g = trace.gradients[-WINDOW:].double()
    live = (g != 0).any(0) & (trace.v > 0)
    ratio = trace.add_up(g.square() * live) / trace.add_up(trace.v * live)
    return ratio.median(0).values


def sqrt_v_over_eps(trace: AdamTrace) -> Tensor:
    """Return the geometric mean of sqrt(v) / eps of each layer, [L], over elements with v above zero.

    NaN if a layer has no element with v above zero, infinite if eps is zero.
    """
    live = trace.v > 0
    logs = torch.where(live, trace.v.double().log() / 2, 0.0)
    return (trace.add_up(logs) / trace.add_up(live)).exp() / trace.eps


def update_bimodality(trace: AdamTrace) -> Tensor:
    """Return Sarle's bimodality coefficient of each layer's updates over the last 10 steps, [L].

    NaN if fewer than 64 updates are not zero. See :func:`mml_diagnostics.spikes.autocorrelation.bimodality`.
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
    """Return the mean autocorrelation of a layer's gradients at lag 1.

    NaN if no gradient changes or only one step is recorded.
    """
    if len(trace.gradients) < 2:
        return math.nan
    r = autocorrelation(trace.gradients[:, trace.layer == layer])
    moving = r[0] > 0
    return float(r[1, moving].mean()) if bool(moving.any()) else math.nan
