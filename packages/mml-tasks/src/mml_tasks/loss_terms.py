"""From a loss module to a sum over what is labelled and a count, which ranks and batches can add up.

The mean of the means of uneven batches is not the mean. So a loss is evaluated element by element, its sum
and the count of its elements are kept apart, and the division comes last, by the count of all ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mml_tasks.loss_modules import TargetLoss
from mml_tasks.ranks import sum_over_ranks, world_size

IGNORED = -100
"""Class index of a missing label; what torch's ``ignore_index`` is by default."""


class LossTerms(NamedTuple):
    """The loss of one target in one batch: ``total / weight`` is its mean; both are scalars.

    The weight is the number of labelled elements or rows, or the sum of their class weights.
    """

    total: Tensor
    weight: Tensor


def labelled(target: Tensor) -> Tensor:
    """Return where a target has a value: not NaN, or as a class index not `IGNORED`; bool, its shape."""
    return ~torch.isnan(target) if target.is_floating_point() else target != IGNORED


def labelled_elements(elements: Tensor, known: Tensor) -> Tensor:
    """Return ``known`` in the shape of ``elements``: a row whose loss is one number needs all components.

    Raises
    ------
    ValueError
        If the leading dimensions do not agree.
    """
    if elements.shape != known.shape[: elements.dim()]:
        raise ValueError(
            f"the loss has shape {list(elements.shape)} for a target of shape {list(known.shape)}: it must "
            "be one number, or one for each element or row of the target"
        )
    return known.flatten(elements.dim()).all(-1) if known.dim() > elements.dim() else known


def loss_terms(
    loss: nn.Module,
    output: Tensor,
    target: Tensor,
    natoms: Tensor | None = None,
    physical: Tensor | None = None,
) -> LossTerms:
    """Evaluate a loss where the target is labelled.

    Parameters
    ----------
    loss
        A `TargetLoss`; a module with a ``reduction`` of ``"mean"`` or ``"sum"``, as torch's; or any module
        whose result is a mean over the rows that it is given. Losses with class weights are divided by the
        weights, as torch does.
    output
        What was predicted, in the units of the loss.
    target
        Labels in the same units, NaN where missing; or class indices, `IGNORED` where missing.
    natoms
        [B], for losses that divide by them.
    physical
        The target in physical units, for losses with thresholds in these.

    Raises
    ------
    ValueError
        If the result is neither one number nor one for each element or row.
    """
    known = labelled(target)
    if isinstance(loss, TargetLoss):
        filled = _fill(target, output, known)
        elements = loss.elements(output, filled, known=known, natoms=natoms, physical=physical)
        return _terms(elements, labelled_elements(elements, known), output)
    reduction = getattr(loss, "reduction", None)
    if reduction not in ("mean", "sum"):
        return _opaque_terms(loss, output, target, known)
    loss.reduction = "none"  # type: ignore[assignment]
    try:
        elements = loss(output, _fill(target, output, known))
    finally:
        loss.reduction = reduction
    if elements.dim() == 0 and output.dim():
        return _opaque_terms(loss, output, target, known)
    mask = labelled_elements(elements, known)
    if reduction == "sum":
        total = _terms(elements, mask, output).total
        # The sum over all ranks: the counts of the ranks add up to one.
        return LossTerms(total, torch.full_like(total.detach(), 1.0 / world_size()))
    return _terms(elements, mask, output, _class_weights(loss, target, mask))


def combine(terms: Mapping[str, LossTerms], across_ranks: bool = True) -> dict[str, Tensor]:
    """Return each target's loss, such that their mean over ranks is the mean over all ranks' elements.

    DDP averages gradients over ranks. So a rank's loss is its own sum, times the number of ranks, divided by
    the count of all of them: one reduction of one number a target. A target that no rank has a label of has
    a loss of zero, and a gradient of zero.

    Parameters
    ----------
    terms
        Those of this rank, by target; the same targets on every rank.
    across_ranks
        Whether every rank calls this for its own part of one step.
    """
    counts = torch.stack([each.weight for each in terms.values()])
    if across_ranks and world_size() > 1:
        counts = sum_over_ranks(counts) / world_size()
    counts = torch.where(counts > 0, counts, torch.ones_like(counts))
    return {key: each.total / count for (key, each), count in zip(terms.items(), counts, strict=True)}


def _fill(target: Tensor, output: Tensor, known: Tensor) -> Tensor:
    """Put numbers in the place of missing labels that no loss makes a NaN of."""
    if target.is_floating_point():
        return torch.where(known, target, output.detach())
    return torch.where(known, target, torch.zeros_like(target))


def _terms(elements: Tensor, mask: Tensor, output: Tensor, weights: Tensor | None = None) -> LossTerms:
    dtype = torch.promote_types(elements.dtype, torch.float32)
    total = torch.where(mask, elements, torch.zeros_like(elements)).sum(dtype=dtype)
    count = mask.sum(dtype=dtype) if weights is None else weights.sum(dtype=dtype)
    return LossTerms(total, count.detach())


def _class_weights(loss: nn.Module, target: Tensor, mask: Tensor) -> Tensor | None:
    """Return what torch divides a weighted cross entropy by, element by element."""
    if not isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss)) or target.is_floating_point():
        return None
    mask = mask & (target != loss.ignore_index)
    if loss.weight is None:
        return mask
    weights = loss.weight[torch.where(mask, target, torch.zeros_like(target))]
    return torch.where(mask, weights, torch.zeros_like(weights))


def _opaque_terms(loss: nn.Module, output: Tensor, target: Tensor, known: Tensor) -> LossTerms:
    """Evaluate a loss of which nothing is known but that it is a mean over rows; waits for the device."""
    rows = known.flatten(1).all(1) if known.dim() > 1 else known
    if not rows.all():
        output, target = output[rows], target[rows]
    count = torch.full((), float(output.shape[0]), device=output.device, dtype=torch.float32)
    if output.shape[0] == 0:
        return LossTerms(output.sum().to(torch.float32), count)
    value = loss(output, target)
    if value.dim() != 0:
        raise ValueError(f"the loss has shape {list(value.shape)}: it must be one number")
    return LossTerms(value * count, count)
