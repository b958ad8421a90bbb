"""Losses for atoms and structures that torch does not provide.

Each loss computes one number per element or row of a target (`TargetLoss.elements`), so that missing labels
can be excluded and means are exact over ranks. Calling ``loss(output, target)`` returns the mean, as with
torch's losses. For mean squared, absolute and Huber errors of components use torch's `MSELoss`, `L1Loss` and
`HuberLoss`: tasks evaluate these element by element as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mml_tasks.trainer.ranks import rows_of_all_ranks


class TargetLoss(nn.Module):
    """Base class of losses that are the mean of one number per element or row of the target.

    Subclasses implement `elements`. A task calls all of its losses with the same arguments, and each loss
    uses those that it needs.
    """

    takes_totals: ClassVar[bool] = False
    """Whether the loss itself divides extensive targets by the number of atoms. All other losses receive
    extensive targets per atom.
    """

    def elements(
        self,
        output: Tensor,
        target: Tensor,
        *,
        known: Tensor | None = None,
        natoms: Tensor | None = None,
        physical: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each element or of each row.

        Parameters
        ----------
        output, target
            Prediction and label, [n, ...], in the units of the loss. Missing labels are replaced by the
            output.
        known
            Bool mask of the labeled elements, in the shape of the target; ``None`` if all are labeled.
        natoms
            Number of atoms of each structure, [B].
        physical
            Target in physical units, NaN if missing; ``None`` if ``target`` is in physical units.
        """
        raise NotImplementedError

    def join(self, device: torch.device) -> None:
        """Take part in the reductions of `elements` over ranks, on a rank without a batch."""

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
    """Euclidean norm of the error vector, ``|output - target|`` over the last dimension, [n, d] -> [n].

    The mean over atoms is the Euclidean error of the force ("L2MAE") of Chanussot et al., "Open Catalyst 2020
    (OC20) Dataset and Community Challenges" (arXiv 2010.09990). Unlike a mean over absolute components, it
    does not depend on the choice of axes.
    """

    def elements(self, output: Tensor, target: Tensor, **_: Tensor | None) -> Tensor:
        """Return the norm of the error of each row, [n]."""
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
        """Return the loss of each element.

        Raises
        ------
        ValueError
            If ``natoms`` is missing, or its length differs from the number of rows.
        """
        if natoms is None or natoms.shape[0] != target.shape[0]:
            found = None if natoms is None else natoms.shape[0]
            raise ValueError(
                f"{type(self).__name__} needs natoms, the number of atoms of each structure: expected "
                f"{target.shape[0]} numbers, got {found}"
            )
        error = (output - target) / natoms.view(-1, *[1] * (target.dim() - 1)).to(target.dtype)
        return self.of_error(error)

    def of_error(self, error: Tensor) -> Tensor:
        """Return the loss of the error per atom, element by element."""
        raise NotImplementedError


class AtomWeightedMSE(_PerAtomLoss):
    """Squared error per atom, ``((output - target) / natoms)**2``, of a target of whole structures [B, ...].

    For targets that a task declares as extensive, ``MSELoss`` computes the same value.
    """

    def of_error(self, error: Tensor) -> Tensor:
        """Return the square of the error."""
        return error.square()


class AtomWeightedL1(_PerAtomLoss):
    """Absolute error per atom, ``|output - target| / natoms``, of a target of whole structures [B, ...]."""

    def of_error(self, error: Tensor) -> Tensor:
        """Return the absolute value of the error."""
        return error.abs()


class ConditionalHuberLoss(TargetLoss):
    """Huber loss of force components, with a smaller ``delta`` for atoms with large reference forces.

    ``delta`` is multiplied by 1, 0.7, 0.4 or 0.1 if the norm of the reference force is below 100, below 200,
    below 300, or larger, in eV/angstrom. Large forces occur in strained geometries, which should have less
    weight. This is the force term of MACE's "universal" loss (`conditional_huber_forces` of
    ``mace.modules.loss``; Batatia et al., "A foundation model for atomistic materials chemistry",
    arXiv 2401.00096). It uses torch's Huber function, ``e**2 / 2`` up to ``delta`` and
    ``delta * (|e| - delta / 2)`` beyond.

    Parameters
    ----------
    delta
        Error at which the Huber function becomes linear, in the units of the loss, which are those of the
        force if the force is not normalized. MACE's default is 0.01 eV/angstrom.
    thresholds
        Norms of the reference force at which ``delta`` changes, ascending, in physical units.
    factors
        Factors of ``delta`` below the first threshold, between consecutive thresholds, and above the last
        one.

    Raises
    ------
    ValueError
        If a number is out of range, or the number of factors is not the number of thresholds plus one.
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
            raise ValueError(f"delta must be finite and positive, got {delta}")
        if len(factors) != len(thresholds) + 1 or not all(math.isfinite(f) and f > 0 for f in factors):
            raise ValueError(
                f"factors must be {len(thresholds) + 1} positive numbers, one more than thresholds, got "
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
        """Return the loss of each component, [n, d]."""
        length = torch.linalg.vector_norm(target if physical is None else physical, dim=-1)
        # A norm equal to a threshold belongs to the regime above it.
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
    """Loss that weights each target by the quantile of its magnitude, to damp or emphasize outliers.

    The quantiles of the magnitudes of the batch's targets define bins. The weight of a bin is that of its
    lower quantile; the weight of the first quantile also applies below it. The result is the mean of the
    weighted losses, not divided by the weights.

    In training, the quantiles are computed over the atoms or structures of all ranks. In evaluation, they are
    computed for each batch separately.

    Parameters
    ----------
    quantile_weights
        Dict from quantile, between 0 and 1, to weight: ``{0.0: 1.0, 0.9: 0.1}`` multiplies the losses of the
        largest 10 % by 0.1.
    loss_func
        ``"mse"``, ``"mae"``, ``"huber"``, or a function or module that returns a loss for each element.
    use_norm
        If True, the magnitude is the norm over the last dimension, which is suitable for forces. If False, it
        is the value of each component.
    huber_delta
        Error at which ``"huber"`` becomes linear.

    Raises
    ------
    ValueError
        If a quantile or a weight is out of range, ``loss_func`` is an unknown name, or ``huber_delta`` is
        missing for ``"huber"`` or given for another loss.
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
            raise ValueError(
                f"the quantiles of quantile_weights must be between 0 and 1, got {list(quantile_weights)}"
            )
        if not all(math.isfinite(weight) and weight >= 0 for _, weight in pairs):
            raise ValueError(
                f"the weights of quantile_weights must be finite and not negative, got {dict(pairs)}"
            )
        if isinstance(loss_func, str) and loss_func not in _ERRORS:
            raise ValueError(
                f"loss_func must be one of {sorted(_ERRORS)} or a function that returns one number for each "
                f"element, got {loss_func!r}"
            )
        if (loss_func == "huber") != (huber_delta is not None) or not (
            huber_delta is None or huber_delta > 0
        ):
            raise ValueError(
                f'huber_delta must be positive for loss_func="huber" and None otherwise, got {huber_delta}'
            )
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
        """Return the weighted loss of each element.

        Raises
        ------
        ValueError
            If the result of ``loss_func`` does not have the shape of the target.
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
                f'loss_func must return one number for each element (reduction="none"): expected shape '
                f"{list(target.shape)}, got {list(errors.shape)}"
            )
        return errors * (weights if weights.shape == errors.shape else weights.unsqueeze(-1))

    def join(self, device: torch.device) -> None:
        """Take part in the quantiles of the other ranks without contributing a value."""
        rows_of_all_ranks(torch.zeros(0, device=device))


def _as_size(known: Tensor, size: Tensor) -> Tensor:
    """Return a mask in the shape of ``size``; a row is labeled only if all of its components are."""
    return known if known.shape == size.shape else known.all(dim=-1)
