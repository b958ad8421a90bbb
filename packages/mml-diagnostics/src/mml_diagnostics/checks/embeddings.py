"""Checks on what the encoder puts out. Each takes a matrix of embeddings and returns the problems it sees."""

from collections.abc import Callable

import torch
from torch import Tensor

from mml_diagnostics.batch_view import BatchView
from mml_diagnostics.finding import Problem

MAX_ROWS = 256  # of a bigger matrix, this many rows, evenly spaced, are looked at


def exploding_embeddings(
    embeddings: Tensor, level: str, name: Callable[[int], str], limit: float = 1e3
) -> list[Problem]:
    """Find embeddings that are not finite, or whose root mean square over the dimensions is too large.

    Parameters
    ----------
    embeddings
        [n, D], one row per structure or atom.
    level
        What the rows are: ``"system"`` or ``"point"``.
    name
        Names a row.
    limit
        Largest root mean square that is reasonable.
    """
    size = embeddings.float().square().mean(dim=1).sqrt()
    broken = ~torch.isfinite(embeddings).all(dim=1)
    if bool(broken.any()):
        row = int(broken.nonzero()[0])
        return [
            Problem(
                check="non_finite_embeddings",
                severity="error",
                message=f"{int(broken.sum())} of {len(broken)} {level} embeddings hold NaN or Inf, "
                f"among them that of {name(row)}.",
                advice="Look at that sample, then at divisions, roots and logarithms in the encoder.",
                where=f"{level} embedding",
            )
        ]
    row = int(size.argmax()) if len(size) else 0
    if not len(size) or float(size[row]) <= limit:
        return []
    return [
        Problem(
            check="exploding_embeddings",
            severity="warning",
            message=f"The {level} embedding of {name(row)} has a root mean square of {float(size[row]):.3g} "
            f"(more than {limit:g}); {int((size > limit).sum())} of {len(size)} are that large.",
            advice="Normalise in the encoder, lower the learning rate, or clip gradients.",
            where=f"{level} embedding",
        )
    ]


def collapsed_embeddings(
    embeddings: Tensor,
    level: str,
    num_kinds: int,
    min_spread: float = 1e-4,
    max_constant: float = 0.5,
    min_rank: float = 1.1,
) -> list[Problem]:
    """Find embeddings that no longer tell their inputs apart.

    Rows are scaled to length one first, since a sum over atoms makes large structures long in any case.
    They have collapsed when they all point the same way, when more than half of the dimensions are the same
    for all of them, or when they vary along one line only: their effective rank, exp(-sum p ln p) with p the
    normalised eigenvalues of the covariance (Roy and Vetterli 2007, there of singular values), is close to
    one.

    Parameters
    ----------
    embeddings
        [n, D].
    level
        What the rows are: ``"system"`` or ``"point"``.
    num_kinds
        How many different kinds of things (compositions, elements) the rows describe. One kind may well have
        one embedding; the effective rank says something from four kinds on.
    min_spread
        Smallest root mean square distance of the rows of length one from their mean.
    max_constant
        Largest share of dimensions that may be constant.
    min_rank
        Smallest effective rank, looked at for at least 8 rows of at least 8 dimensions.

    Fewer than four rows, two dimensions or two kinds tell nothing, and are no problem.
    """
    rows, dims = embeddings.shape
    if rows < 4 or dims < 2 or num_kinds < 2:
        return []
    x = embeddings.double().cpu()
    if not bool(torch.isfinite(x).all()):
        return []
    x = x[torch.linspace(0, rows - 1, min(rows, MAX_ROWS)).long()]
    x = x / x.norm(dim=1, keepdim=True).clamp_min(1e-30)
    centred = x - x.mean(dim=0)
    variances = centred.square().mean(dim=0)
    spread = float(variances.sum().sqrt())
    constant = float((variances.sqrt() < 1e-6).double().mean())
    if spread < min_spread:
        seen = (
            f"All {level} embeddings of the batch point the same way (spread {spread:.1e} of their length)."
        )
    elif constant > max_constant:
        seen = f"{round(constant * dims)} of {dims} dimensions of the {level} embeddings are all the same."
    elif min(rows, dims) >= 8 and num_kinds >= 4 and (rank := effective_rank(centred)) < min_rank:
        seen = f"The {level} embeddings vary along one line only (effective rank {rank:.2f} of {dims})."
    else:
        return []
    return [
        Problem(
            check="collapsed_embeddings",
            severity="warning",
            message=seen,
            advice="The heads cannot tell inputs apart: lower the learning rate, look for dead activations "
            "and for oversmoothing by too many layers.",
            where=f"{level} embedding",
        )
    ]


def effective_rank(centred: Tensor) -> float:
    """Return exp(entropy) of the normalised eigenvalues of the covariance of ``centred`` [n, D] rows."""
    power = torch.linalg.svdvals(centred).square()
    share = power / power.sum()
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))


def count_elements(view: BatchView | None, rows: int) -> int:
    """Count the elements in the batch; where it does not tell, every row is of its own kind."""
    if view is None or view.atomic_numbers is None or len(view.pos) != rows:
        return rows
    return len(view.atomic_numbers.unique())


def count_compositions(view: BatchView | None, rows: int) -> int:
    """Count the compositions in the batch; two where structures of only one differ in their positions."""
    if view is None or view.atomic_numbers is None or view.num_structures != rows:
        return rows
    masks = [view.structure_of == i for i in range(rows)]
    compositions = {tuple(sorted(view.atomic_numbers[mask].tolist())) for mask in masks}
    if len(compositions) > 1:
        return len(compositions)
    return min(2, len({view.pos[mask].numpy().tobytes() for mask in masks}))
