"""Evaluate a loss as a sum over labeled elements and a count, which can be added up over batches and ranks.

The mean of the means of uneven batches differs from the overall mean. Losses are therefore evaluated element
by element, and the sum and the number of elements are kept separately. The sum is divided last, by the count
over all ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mml_tasks.losses.loss_modules import TargetLoss
from mml_tasks.trainer.accumulation import Window
from mml_tasks.trainer.precision import supports_float64
from mml_tasks.trainer.ranks import sum_over_ranks, world_size

IGNORED = -100
"""Class index of a missing label; equal to the default ``ignore_index`` of torch."""


class LossTerms(NamedTuple):
    """Loss of one target in one batch.

    Parameters
    ----------
    total
        Sum of the loss, a scalar.
    weight
        Number of labeled elements or rows, or the sum of their class weights, a scalar. ``total / weight`` is
        the mean loss.
    weight_of
        Function that returns the weight for other labels of the same target, such as those of another batch.
        None if every batch has the same weight.
    """

    total: Tensor
    weight: Tensor
    weight_of: Callable[[Tensor], Tensor] | None = None


def labeled(target: Tensor) -> Tensor:
    """Return a bool mask of the labeled elements: those that are not NaN, or not `IGNORED` for classes."""
    return ~torch.isnan(target) if target.is_floating_point() else target != IGNORED


def labeled_elements(elements: Tensor, known: Tensor) -> Tensor:
    """Return ``known`` in the shape of ``elements``; a row with one loss needs labels of all components.

    Raises
    ------
    ValueError
        If the leading dimensions do not match.
    """
    if elements.shape != known.shape[: elements.dim()]:
        raise ValueError(
            f"the loss has shape {list(elements.shape)} for a target of shape {list(known.shape)}, expected "
            "a scalar, or one number for each element or row of the target"
        )
    return known.flatten(elements.dim()).all(-1) if known.dim() > elements.dim() else known


def loss_terms(
    loss: nn.Module,
    output: Tensor,
    target: Tensor,
    natoms: Tensor | None = None,
    physical: Tensor | None = None,
) -> LossTerms:
    """Evaluate a loss on the labeled elements of a target.

    Parameters
    ----------
    loss
        A `TargetLoss`; a module with a ``reduction`` of ``"mean"`` or ``"sum"``, as in torch; or any module
        whose result is the mean over the rows of its input. Losses with class weights are divided by the sum
        of the weights, as in torch.
    output
        Predictions, in the units of the loss.
    target
        Labels in the same units, NaN if missing; or class indices, `IGNORED` if missing.
    natoms
        Number of atoms of each structure, [B], for losses that divide by it.
    physical
        Target in physical units, for losses with thresholds in physical units.

    Raises
    ------
    ValueError
        If the result of the loss is neither one number nor one number per element or row.
    """
    known = labeled(target)
    if output.shape == known.shape:
        # A prediction that is undefined, such as the stress of a molecule, is masked with its missing label.
        output = torch.where(known | ~torch.isnan(output), output, torch.zeros_like(output))
    if isinstance(loss, TargetLoss):
        filled = _fill(target, output, known)
        elements = loss.elements(output, filled, known=known, natoms=natoms, physical=physical)
        return _terms(elements, labeled_elements(elements, known))
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
    mask = labeled_elements(elements, known)
    if reduction == "sum":
        total = _terms(elements, mask).total
        # The result is the sum over all ranks, because the weights of the ranks add up to one.
        return LossTerms(total, torch.full_like(total.detach(), 1.0 / world_size()))
    if isinstance(loss, _CLASS_LOSSES) and not target.is_floating_point():
        return _terms(elements, mask, lambda classes: _class_weights(loss, classes), target)
    return _terms(elements, mask)


def combine(
    terms: Mapping[str, LossTerms],
    window: Window | None = None,
    extra: Tensor | None = None,
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return each target's loss; its mean over ranks and batches is the mean over all labels of the step.

    DDP averages gradients over ranks, and Lightning divides each loss by ``accumulate_grad_batches``. The
    loss of a batch is therefore its own sum times both numbers, divided by the weight of all batches of the
    step on all ranks. This takes one reduction of one number per target. If no rank has a label of a target,
    its loss and gradient are zero.

    Parameters
    ----------
    terms
        Loss terms of this rank's batch by target, in the units of the loss; the same targets on every rank.
    window
        The batches of the optimizer step, see `mml_tasks.trainer.accumulation`; None for one batch.
    extra
        Further numbers to sum over ranks in the same reduction, in float64, on the CPU or the device.

    Returns
    -------
    tuple
        The losses by target, and the sums of ``extra``.
    """
    weights = torch.stack([_step_weight(key, each, window) for key, each in terms.items()])
    numbers = weights if extra is None else torch.cat([weights, extra.to(weights)])
    ranks = world_size()
    if ranks > 1:
        numbers = sum_over_ranks(numbers.to(_sum_dtype(numbers.device))).to(numbers)
    weights, sums = numbers[: len(terms)], None if extra is None else numbers[len(terms) :]
    factor = ranks if window is None else ranks * window.factor
    weights = torch.where(weights > 0, weights, torch.ones_like(weights)) / factor
    losses = {key: each.total / weight for (key, each), weight in zip(terms.items(), weights, strict=True)}
    return losses, sums


def join_combine(numbers: int, device: torch.device) -> Tensor:
    """Take part in `combine` on a rank without a batch, and return the sums of ``numbers`` numbers."""
    return sum_over_ranks(torch.zeros(numbers, dtype=_sum_dtype(device), device=device))


def _sum_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype in which ranks sum numbers; it does not depend on the dtype of the loss."""
    return torch.float64 if supports_float64(device) else torch.float32


def _step_weight(key: str, terms: LossTerms, window: Window | None) -> Tensor:
    """Return the weight of all batches of this rank's window."""
    if window is None or window.factor == 1 or terms.weight_of is None:
        return terms.weight
    if window.targets is None:  # assume that each batch has as many labels as this one
        return terms.weight * window.batches
    return torch.stack([terms.weight_of(targets[key]) for targets in window.targets]).sum().to(terms.weight)


def _fill(target: Tensor, output: Tensor, known: Tensor) -> Tensor:
    """Replace missing labels by numbers for which no loss is NaN."""
    if target.is_floating_point():
        return torch.where(known, target, output.detach())
    return torch.where(known, target, torch.zeros_like(target))


_CLASS_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss)


def _terms(
    elements: Tensor,
    mask: Tensor,
    weight_of: Callable[[Tensor], Tensor] | None = None,
    target: Tensor | None = None,
) -> LossTerms:
    """Sum the loss and count its elements or rows; ``weight_of(target)`` replaces the count if given."""
    dtype = torch.promote_types(elements.dtype, torch.float32)
    total = torch.where(mask, elements, torch.zeros_like(elements)).sum(dtype=dtype)
    if weight_of is not None and target is not None:
        return LossTerms(total, weight_of(target).to(dtype), weight_of)
    return LossTerms(total, mask.sum(dtype=dtype).detach(), partial(_labels, dims=elements.dim()))


def _labels(target: Tensor, dims: int) -> Tensor:
    """Return the number of labeled elements of a target, or of labeled rows if the loss is per row."""
    known = labeled(target)
    return (known.flatten(dims).all(-1) if known.dim() > dims else known).sum()


def _class_weights(loss: nn.Module, classes: Tensor) -> Tensor:
    """Return torch's divisor of a cross entropy: the number of labels, or the sum of their weights."""
    weight: Tensor | None = loss.weight  # type: ignore[assignment]
    known = labeled(classes) & (classes != loss.ignore_index)
    if weight is None:
        return known.sum()
    classes = classes.to(weight.device)
    return weight[classes[known.to(weight.device)]].sum()


def _opaque_terms(loss: nn.Module, output: Tensor, target: Tensor, known: Tensor) -> LossTerms:
    """Evaluate a loss of unknown kind as a mean over rows; waits for the device."""
    rows = known.flatten(1).all(1) if known.dim() > 1 else known
    if not rows.all():
        output, target = output[rows], target[rows]
    count = torch.full((), float(output.shape[0]), device=output.device, dtype=torch.float32)
    weight_of = partial(_labels, dims=1)
    if output.shape[0] == 0:
        return LossTerms(output.sum().to(torch.float32), count, weight_of)
    value = loss(output, target)
    if value.dim() != 0:
        raise ValueError(f"the loss has shape {list(value.shape)}, expected a scalar")
    return LossTerms(value * count, count, weight_of)
