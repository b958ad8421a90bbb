"""Checks on gradients, as they stand before the optimizer steps."""

from collections.abc import Mapping, Sequence

from torch import nn

from mml_diagnostics.checks.runner import NotApplicableError
from mml_diagnostics.finding import Problem
from mml_diagnostics.non_finite import gradient_norms, gradient_values

Parameters = Mapping[str, nn.Parameter]


def norms_of_gradients(parameters: Parameters) -> dict[str, float]:
    """Return the 2-norm of the gradient of each parameter that has one, by name."""
    present = {name: p for name, p in parameters.items() if p.grad is not None}
    norms = gradient_norms([gradient_values(p) for p in present.values()])
    return dict(zip(present, norms, strict=True))


def missing_gradients(parameters: Parameters) -> list[Problem]:
    """Find parameters of an optimizer that require a gradient and have none."""
    missing = [name for name, p in parameters.items() if p.requires_grad and p.grad is None]
    if not missing:
        return []
    return [
        Problem(
            check="missing_gradients",
            severity="warning",
            message=f"{len(missing)} of {len(parameters)} parameters take no part in the loss and get no "
            f"gradient: {listed(missing)}.",
            advice="Use them in the forward pass, freeze them (requires_grad=False), or remove them.",
            where=listed(missing),
        )
    ]


def encoder_gradient(encoder: Parameters, norms: Mapping[str, float]) -> list[Problem]:
    """Find out whether gradients reach the encoder.

    Parameters
    ----------
    encoder
        All parameters of the encoder, by name.
    norms
        Name -> norm of the gradient, for the parameters that have a gradient.

    Raises
    ------
    NotApplicableError
        Where the encoder has no parameters.
    """
    if not encoder:
        raise NotApplicableError("the encoder has no parameters")
    if not any(p.requires_grad for p in encoder.values()):
        return [
            Problem(
                check="encoder_frozen",
                severity="info",
                message="No parameter of the encoder requires a gradient: only the rest is trained.",
                advice="Right for a pretrained encoder; else set requires_grad=True.",
                where="encoder",
            )
        ]
    reached = any(norms.get(name, 0.0) != 0.0 for name in encoder)
    rest = [norm for name, norm in norms.items() if name not in encoder]
    if reached or (rest and not any(rest)):  # nothing at all arrives anywhere: that is not about the encoder
        return []
    return [
        Problem(
            check="encoder_without_gradient",
            severity="error",
            message="No gradient reaches the encoder: all of its gradients are missing or zero.",
            advice="Look for detach(), no_grad() or an integer conversion between the encoder and the heads.",
            where="encoder",
        )
    ]


def small_gradients(norms: Mapping[str, float], thres: float) -> list[Problem]:
    """Find parameters whose gradient is smaller than ``thres`` but not zero."""
    small = [name for name, norm in norms.items() if 0.0 < norm < thres]
    if not small:
        return []
    return [
        Problem(
            check="small_gradients_at_check",
            severity="info",
            message=f"{len(small)} of {len(norms)} parameters have a gradient norm below {thres:g}: "
            f"{listed(small)}.",
            advice="Usual where training has converged; early on, look for saturated or unused layers.",
        )
    ]


def listed(names: Sequence[str], shown: int = 4) -> str:
    """Join names; of many, the first few and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
