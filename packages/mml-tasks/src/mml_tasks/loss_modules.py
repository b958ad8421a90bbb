"""Losses for atoms and structures that torch does not have.

Each gives one number for each element or row of a target (`TargetLoss.elements`), so that missing labels can
be left out and means be exact over ranks. Called as ``loss(output, target)`` it returns the mean, as torch's
losses do. For mean squared, absolute and Huber errors of components use torch's `MSELoss`, `L1Loss` and
`HuberLoss`: tasks evaluate them element by element as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mml_tasks.ranks import rows_of_all_ranks


class TargetLoss(nn.Module):
    """A loss that is the mean of numbers of its own, one for each element or row of the target.

    A subclass implements `elements`. All losses of a task are called with the same arguments, and use what
    they need.
    """

    takes_totals: ClassVar[bool] = False
    """Whether it divides extensive targets by the number of atoms itself; other losses are given them so."""

    def elements(
        self,
        output: Tensor,
        target: Tensor,
        *,
        known: Tensor | None = None,
        natoms: Tensor | None = None,
        physical: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each element, or of each row.

        Parameters
        ----------
        output, target
            [n, ...], in the units of the loss. A missing label holds the output's value.
        known
            Where the target is labelled, bool, its shape; ``None`` for everywhere.
        natoms
            Number of atoms of each structure, [B].
        physical
            The target in physical units, NaN where missing; ``None`` where these are the loss's own.
        """
        raise NotImplementedError

    def join(self, device: torch.device) -> None:
        """Take part in the reductions over ranks of `elements`, on a rank without a batch."""

    def forward(
        self,
        output: Tensor,
        target: Tensor,
        natoms: Tensor | None = None,
        physical: Tensor | None = None,
    ) -> Tensor:
        """Return the mean of `elements`."""
        return self.elements(output, target, natoms=natoms, physical=physical).mean()


class L2NormLoss(TargetLoss):
    """Length of the error vector, ``|output - target|`` over the last dimension, [n, d] -> [n].

    The mean over atoms of the Euclidean error of the force ("L2MAE"): Chanussot et al., "Open Catalyst 2020
    (OC20) Dataset and Community Challenges" (arXiv 2010.09990). It does not depend on the axes, as a mean of
    absolute components does.
    """

    def elements(self, output: Tensor, target: Tensor, **_: Tensor | None) -> Tensor:
        """Return one length for each row."""
        return torch.linalg.vector_norm(output - target, dim=-1)


class _PerAtomLoss(TargetLoss):
    takes_totals: ClassVar[bool] = True

    def elements(
        self,
        output: Tensor,
        target: Tensor,
        *,
        known: Tensor | None = None,
        natoms: Tensor | None = None,
        physical: Tensor | None = None,
    ) -> Tensor:
        """Return one number for each element.

        Raises
        ------
        ValueError
            If ``natoms`` is missing, or has not one number for each row.
        """
        if natoms is None or natoms.shape[0] != target.shape[0]:
            found = "none" if natoms is None else f"{natoms.shape[0]} numbers"
            raise ValueError(
                f"{type(self).__name__} divides by the number of atoms of each structure: give natoms for "
                f"{target.shape[0]} rows, got {found}"
            )
        error = (output - target) / natoms.view(-1, *[1] * (target.dim() - 1)).to(target.dtype)
        return self.of_error(error)

    def of_error(self, error: Tensor) -> Tensor:
        """Return the loss of the error per atom, element by element."""
        raise NotImplementedError


class AtomWeightedMSE(_PerAtomLoss):
    """Squared error per atom, ``((output - target) / natoms)**2``, of a target of whole structures [B, ...].

    For targets that a task knows to be extensive this is what ``MSELoss`` is, too.
    """

    def of_error(self, error: Tensor) -> Tensor:
        """Return the square."""
        return error.square()


class AtomWeightedL1(_PerAtomLoss):
    """Absolute error per atom, ``|output - target| / natoms``, of a target of whole structures [B, ...]."""

    def of_error(self, error: Tensor) -> Tensor:
        """Return the absolute value."""
        return error.abs()


class ConditionalHuberLoss(TargetLoss):
    """Huber loss of force components whose ``delta`` is smaller for atoms with large reference forces.

    ``delta`` is multiplied by 1, 0.7, 0.4 and 0.1 where the length of the reference force is below 100,
    below 200, below 300, and above, in eV/angstrom: large forces belong to strained geometries that should
    count for less. This is the force term of MACE's "universal" loss (`conditional_huber_forces` of
    ``mace.modules.loss``; Batatia et al., "A foundation model for atomistic materials chemistry",
    arXiv 2401.00096), with the Huber function of torch,
    ``e**2 / 2`` up to ``delta`` and ``delta * (|e| - delta / 2)`` beyond.

    Parameters
    ----------
    delta
        Where the Huber function turns linear, in the units of the loss: of the force where it is not
        normalised. MACE's default is 0.01 eV/angstrom.
    thresholds
        Lengths of the reference force at which ``delta`` changes, ascending, in physical units.
    factors
        What ``delta`` is multiplied by below the first threshold, between each two, and above the last.

    Raises
    ------
    ValueError
        If a number is out of range, or there are not one more factors than thresholds.
    """

    thresholds: Tensor
    deltas: Tensor

    def __init__(
        self,
        delta: float = 0.01,
        thresholds: Sequence[float] = (100.0, 200.0, 300.0),
        factors: Sequence[float] = (1.0, 0.7, 0.4, 0.1),
    ) -> None:
        super().__init__()
        if not (math.isfinite(delta) and delta > 0):
            raise ValueError(f"delta must be finite and greater than zero, got {delta}")
        if len(factors) != len(thresholds) + 1 or not all(math.isfinite(f) and f > 0 for f in factors):
            raise ValueError(
                f"factors must be {len(thresholds) + 1} positive numbers, one more than the thresholds, got "
                f"{list(factors)}"
            )
        if sorted(thresholds) != list(thresholds) or not all(t > 0 for t in thresholds):
            raise ValueError(f"thresholds must be positive and ascending, got {list(thresholds)}")
        self.delta = delta
        self.register_buffer("thresholds", torch.tensor(thresholds), persistent=False)
        self.register_buffer("deltas", delta * torch.tensor(factors), persistent=False)

    def elements(
        self,
        output: Tensor,
        target: Tensor,
        *,
        known: Tensor | None = None,
        natoms: Tensor | None = None,
        physical: Tensor | None = None,
    ) -> Tensor:
        """Return one number for each component, [n, d]."""
        length = torch.linalg.vector_norm(target if physical is None else physical, dim=-1)
        # A length of exactly a threshold belongs above it.
        regime = torch.bucketize(length.nan_to_num(), self.thresholds.to(length.dtype), right=True)
        delta = self.deltas.to(output.dtype)[regime].unsqueeze(-1)
        error = (output - target).abs()
        small = torch.minimum(error, delta)
        return small * (error - 0.5 * small)


_ERRORS: Mapping[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}


class BatchQuantileLoss(TargetLoss):
    """Loss whose weight depends on where in the batch a target's size falls, to damp or favour outliers.

    The quantiles of the sizes of the batch's targets make bins; the weight of a bin is that of the quantile
    below it, and that of the first quantile also counts below. The result is the mean of weighted losses (not
    divided by the weights).

    While training, the quantiles are those of the step: of all ranks' atoms or structures. In evaluation
    each batch has its own.

    Parameters
    ----------
    quantile_weights
        Weight of each quantile, from 0 to 1: ``{0.0: 1.0, 0.9: 0.1}`` counts the largest tenth for a tenth.
    loss_func
        ``"mse"``, ``"mae"``, ``"huber"``, or a function or module that gives a loss for each element.
    use_norm
        Whether the size is the length over the last dimension, as makes sense for forces, or the value of
        each component.
    huber_delta
        Where ``"huber"`` turns linear.

    Raises
    ------
    ValueError
        If a quantile or a weight is out of range, ``loss_func`` is another name, or ``huber_delta`` is
        missing or not for it.
    """

    quantiles: Tensor
    weights: Tensor

    def __init__(
        self,
        quantile_weights: Mapping[float, float],
        loss_func: Callable[[Tensor, Tensor], Tensor] | Literal["mse", "mae", "huber"] = "mse",
        use_norm: bool = True,
        huber_delta: float | None = None,
    ) -> None:
        super().__init__()
        pairs = sorted((float(quantile), float(weight)) for quantile, weight in quantile_weights.items())
        if not pairs or not all(0 <= quantile <= 1 for quantile, _ in pairs):
            raise ValueError(f"quantile_weights needs quantiles from 0 to 1, got {list(quantile_weights)}")
        if not all(math.isfinite(weight) and weight >= 0 for _, weight in pairs):
            raise ValueError(f"quantile_weights must be finite and not negative, got {dict(pairs)}")
        if isinstance(loss_func, str) and loss_func not in _ERRORS:
            raise ValueError(
                f"loss_func={loss_func!r} has no value for each element: give one of {sorted(_ERRORS)}, or a "
                "function that has"
            )
        if (loss_func == "huber") != (huber_delta is not None) or not (
            huber_delta is None or huber_delta > 0
        ):
            raise ValueError(f'huber_delta, above zero, is for loss_func="huber", got {huber_delta}')
        self.register_buffer("quantiles", torch.tensor([q for q, _ in pairs]), persistent=False)
        self.register_buffer("weights", torch.tensor([w for _, w in pairs]), persistent=False)
        self.use_norm = use_norm
        self.error = loss_func
        if isinstance(loss_func, str):
            options = {} if huber_delta is None else {"delta": huber_delta}
            self.error = partial(_ERRORS[loss_func], reduction="none", **options)

    def elements(
        self,
        output: Tensor,
        target: Tensor,
        *,
        known: Tensor | None = None,
        natoms: Tensor | None = None,
        physical: Tensor | None = None,
    ) -> Tensor:
        """Return one weighted number for each element.

        Raises
        ------
        ValueError
            If ``loss_func`` gives another shape.
        """
        size = target
        if self.use_norm:
            size = target.abs() if target.dim() == 1 else torch.linalg.vector_norm(target, dim=-1)
        seen = size if known is None else torch.where(_as_size(known, size), size, torch.nan)
        everywhere = seen.detach().reshape(-1).float()
        if self.training:
            everywhere = rows_of_all_ranks(everywhere)
        edges = torch.nanquantile(everywhere, self.quantiles).to(size.dtype)
        bins = torch.bucketize(size.detach(), edges, right=True) - 1
        weights = self.weights.to(output.dtype)[bins.clamp(min=0)]
        errors = self.error(output, target)  # type: ignore[operator]
        if errors.shape != target.shape:
            raise ValueError(
                f"loss_func gave shape {list(errors.shape)} for a target of shape {list(target.shape)}: it "
                'must give one number for each element (reduction="none")'
            )
        return errors * (weights if weights.shape == errors.shape else weights.unsqueeze(-1))

    def join(self, device: torch.device) -> None:
        """Give the quantiles of the other ranks no value."""
        rows_of_all_ranks(torch.zeros(0, device=device))


def _as_size(known: Tensor, size: Tensor) -> Tensor:
    """Whether each size is of a labelled row: all its components must be there."""
    return known if known.shape == size.shape else known.all(dim=-1)
