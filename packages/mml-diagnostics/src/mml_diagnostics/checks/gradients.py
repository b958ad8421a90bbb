"""Checks of gradients before the optimizer steps."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mml_diagnostics.checks.runner import NotApplicableError
from mml_diagnostics.finding import Problem
from mml_diagnostics.non_finite.bad_values import gradient_norms, gradient_values

Parameters = Mapping[str, nn.Parameter]


def norms_of_gradients(parameters: Parameters) -> dict[str, float]:
    """Return the 2-norm of the gradient of each parameter that has one, by name."""
    present = {name: p for name, p in parameters.items() if p.grad is not None}
    norms = gradient_norms([gradient_values(p) for p in present.values()])
    return dict(zip(present, norms, strict=True))


def missing_gradients(parameters: Parameters) -> list[Problem]:
    """Find parameters of an optimizer that require a gradient but have none."""
    missing = [name for name, p in parameters.items() if p.requires_grad and p.grad is None]
    if not missing:
        return []
    return [
        Problem(
            check="missing_gradients",
            severity="warning",
            message=f"{len(missing)} of {len(parameters)} parameters do not affect the loss and have no "
            f"gradient: {listed(missing)}.",
            advice="Use them in the forward pass, freeze them (requires_grad=False), or remove them.",
            where=listed(missing),
        )
    ]


def encoder_gradient(encoder: Parameters, norms: Mapping[str, float]) -> list[Problem]:
    """Check whether gradients reach the encoder.

    Parameters
    ----------
    encoder
        All parameters of the encoder, by name.
    norms
        Mapping from name to norm of the gradient, for the parameters that have a gradient.

    Raises
    ------
    NotApplicableError
        If the encoder has no parameters.
    """
    if not encoder:
        raise NotApplicableError("the encoder does not have parameters")
    if not any(p.requires_grad for p in encoder.values()):
        return [
            Problem(
                check="encoder_frozen",
                severity="info",
                message="No parameter of the encoder requires a gradient, so only the other parameters "
                "are trained.",
                advice="This is correct for a frozen pretrained encoder. Otherwise set requires_grad=True.",
                where="encoder",
            )
        ]
    reached = any(norms.get(name, 0.0) != 0.0 for name in encoder)
    rest = [norm for name, norm in norms.items() if name not in encoder]
    if reached or (rest and not any(rest)):  # no gradient arrives anywhere: not a problem of the encoder
        return []
    return [
        Problem(
            check="encoder_without_gradient",
            severity="error",
            message="No gradient reaches the encoder. All its gradients are missing or zero.",
            advice="Check for detach(), no_grad() or an integer conversion between the encoder and the "
            "heads.",
            where="encoder",
        )
    ]


def dead_units(module: nn.Module, max_share: float = 0.75) -> list[Problem]:
    """Find linear and convolutional layers in which many units have a gradient of exactly zero.

    The gradient of a unit's row of the weight matrix is zero if no input of the batch passes through the
    unit, for example because the ReLU after the unit receives only negative values. Layers whose whole
    gradient is zero are covered by other checks. Layers of fewer than four units are not checked.

    Parameters
    ----------
    module
        Module with the gradients of a batch.
    max_share
        Largest share of a layer's units that may be dead. One half is usual in a new network with inputs that
        resemble each other.
    """
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = [
        (name, layer.weight.grad)
        for name, layer in module.named_modules()
        if isinstance(layer, kinds) and layer.weight.grad is not None and len(layer.weight) >= 4
    ]
    if not layers:
        return []
    counts = [(g.flatten(1) == 0).all(dim=1).sum() for _, g in layers]
    dead = torch.stack([count.to(counts[0].device) for count in counts]).tolist()
    return [
        Problem(
            check="dead_units",
            severity="warning",
            message=f"{count} of {len(gradient)} units of {name} have zero gradient for all inputs of "
            "the batch.",
            advice="Check for ReLU units whose input is always negative. Lower the learning rate, warm it "
            "up, or use a smooth activation (SiLU, GELU).",
            where=name,
            patience=3,
        )
        for (name, gradient), count in zip(layers, dead, strict=True)
        if max_share * len(gradient) < count < len(gradient)
    ]


def small_gradients(norms: Mapping[str, float], thres: float) -> list[Problem]:
    """Find parameters whose gradient norm is below ``thres`` but not zero."""
    small = [name for name, norm in norms.items() if 0.0 < norm < thres]
    if not small:
        return []
    return [
        Problem(
            check="small_gradients_at_check",
            severity="info",
            message=f"{len(small)} of {len(norms)} parameters have a gradient norm below {thres:g}: "
            f"{listed(small)}.",
            advice="This is normal after convergence. Early in a run, check for saturated or unused layers.",
        )
    ]


def listed(names: Sequence[str], shown: int = 4) -> str:
    """Join names with commas, and abbreviate the list after ``shown`` names with the number of the others."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
