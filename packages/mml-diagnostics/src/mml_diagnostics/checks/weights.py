"""Checks of weights and of the optimizer's updates."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mml_diagnostics.checks.gradients import listed
from mml_diagnostics.checks.runner import NotApplicableError
from mml_diagnostics.finding import Problem


def typical_size(weights: Mapping[str, Tensor]) -> float | None:
    """Return the median of the root mean squares of the weight matrices, or None if there are none.

    Biases, other vectors and matrices of zeros are ignored.
    """
    matrices = [w.detach() for w in weights.values() if w.ndim >= 2 and w.numel()]
    if not matrices:
        return None
    norms = torch.stack([n.cpu().double() for n in torch._foreach_norm(matrices)])
    sizes = norms / torch.tensor([m.numel() for m in matrices], dtype=torch.float64).sqrt()
    sizes = sizes[sizes > 0]
    return float(sizes.median()) if len(sizes) else None


def dwarfed_encoder(
    encoder: Mapping[str, Tensor], heads: Mapping[str, Tensor], factor: float = 10.0
) -> list[Problem]:
    """Find heads with weights so much larger than the encoder's that the heads may ignore the embedding.

    The check compares the typical size of a weight (see :func:`typical_size`), so that neither the number of
    layers nor their width matters. An encoder with larger weights than the heads is not a problem.

    Raises
    ------
    NotApplicableError
        If the encoder or the heads have no weight matrices.
    """
    small, large = typical_size(encoder), typical_size(heads)
    if small is None or large is None:
        raise NotApplicableError("the encoder or the heads do not have weight matrices")
    if large <= factor * small:
        return []
    return [
        Problem(
            check="dwarfed_encoder",
            severity="warning",
            message=f"A typical weight of the output heads ({large:.2g}) is {large / small:.0f} times a "
            f"typical weight of the encoder ({small:.2g}).",
            advice="The heads may overfit and ignore the embedding. Add weight decay or dropout to the "
            "heads, or use a smaller learning rate for them.",
            where="output_heads",
        )
    ]


def update_ratios(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """Return |after - before| / |before| (2-norms) of each weight matrix that has changed, by name."""
    names = [name for name, w in before.items() if w.ndim >= 2 and w.numel()]
    if not names:
        return {}
    old = [before[name] for name in names]
    norms = torch._foreach_norm(old)
    moves = torch._foreach_norm(torch._foreach_sub([after[name].detach() for name in names], old))
    sizes = zip(names, map(float, moves), map(float, norms), strict=True)
    return {name: move / norm for name, move, norm in sizes if move != 0 and norm > 0}


def update_to_weight_ratio(
    ratios: Mapping[str, float], decayed: bool = False, low: float = 1e-5, high: float = 1e-1
) -> list[Problem]:
    """Find weight matrices that one optimizer step changes too much or hardly at all.

    Parameters
    ----------
    ratios
        Mapping from name to |update| / |weight|, as returned by :func:`update_ratios`.
    decayed
        Whether a schedule has reduced the learning rate far below its full value. Small updates are then
        expected and not reported.
    low, high
        Reasonable range; about 1e-3 is usual.
    """
    fast = [name for name, ratio in ratios.items() if not ratio <= high]
    slow = [] if decayed else [name for name, ratio in ratios.items() if ratio < low]
    problems = []
    for names, seen, remedy in (
        (fast, f"changes more than {high:.0%} of its weights' norm", "Lower"),
        (slow, f"changes less than {low:g} of its weights' norm", "Raise"),
    ):
        if names:
            values = listed([f"{name} ({ratios[name]:.1e})" for name in names])
            problems.append(
                Problem(
                    check="update_to_weight_ratio",
                    severity="warning",
                    message=f"One optimizer step {seen} in {len(names)} of {len(ratios)} matrices: {values}.",
                    advice=f"{remedy} the learning rate for these layers or for all.",
                    where="too large" if remedy == "Lower" else "too small",
                    patience=2,
                )
            )
    return problems


def is_decayed(groups: Sequence[Mapping[str, float]], fraction: float = 0.1) -> bool:
    """Return whether a schedule has reduced any group's learning rate below ``fraction`` of its full value.

    The full value is ``max_lr`` for schedules that store it (OneCycleLR and CyclicLR), otherwise the initial
    learning rate.
    """
    return any(g["lr"] < fraction * g.get("max_lr", g["initial_lr"]) for g in groups if "initial_lr" in g)


def learning_rate_zero(groups: Sequence[Mapping[str, float]]) -> list[Problem]:
    """Find parameter groups whose learning rate is zero.

    With a schedule (the group has an ``initial_lr``), the learning rate may start or end at zero. For these
    groups, two consecutive detections are needed.
    """
    return [
        Problem(
            check="learning_rate_zero",
            severity="warning",
            message=f"The learning rate of parameter group {i} is zero, so its parameters are not trained.",
            advice="Set lr, or check whether the schedule (T_max, total_steps) ended too early.",
            where=f"parameter group {i}",
            patience=2 if "initial_lr" in group else 1,
        )
        for i, group in enumerate(groups)
        if group.get("lr") == 0.0
    ]
