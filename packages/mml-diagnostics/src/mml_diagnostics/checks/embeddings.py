"""Checks of the encoder's output. Each check takes a matrix of embeddings and returns problems."""

from collections.abc import Callable

import torch
from torch import Tensor

from mml_diagnostics.batch_view import BatchView
from mml_diagnostics.finding import Problem

MAX_ROWS = 256  # maximum number of rows to check; larger matrices are sampled at evenly spaced rows


def exploding_embeddings(
    embeddings: Tensor, level: str, name: Callable[[int], str], limit: float = 1e3
) -> list[Problem]:
    """Find embeddings that are not finite, or whose root mean square over the dimensions is too large.

    Parameters
    ----------
    embeddings
        Embeddings, [n, D], one row per structure or atom.
    level
        ``"system"`` for rows of structures, ``"point"`` for rows of atoms.
    name
        Function that returns the name of a row.
    limit
        Largest reasonable root mean square.
    """
    size = embeddings.float().square().mean(dim=1).sqrt()
    broken = ~torch.isfinite(embeddings).all(dim=1)
    if bool(broken.any()):
        row = int(broken.nonzero()[0])
        return [
            Problem(
                check="non_finite_embeddings",
                severity="error",
                message=f"{int(broken.sum())} of {len(broken)} {level} embeddings contain NaN or Inf, "
                f"including that of {name(row)}.",
                advice="Check this sample, then the divisions, roots and logarithms in the encoder.",
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
            advice="Add normalization to the encoder, lower the learning rate, or clip gradients.",
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
    """Find embeddings that no longer distinguish their inputs.

    Rows are scaled to unit length first, because a sum over atoms gives long embeddings for large structures
    in any case. Embeddings have collapsed if they all point in the same direction, if more than half of the
    dimensions are the same for all of them, or if they vary along one line only. In the last case their
    effective rank is close to one. It is exp(-sum p ln p), with p the normalized eigenvalues of the
    covariance (Roy and Vetterli 2007, who use singular values).

    Batches with fewer than four rows, two dimensions or two kinds are not checked.

    Parameters
    ----------
    embeddings
        Embeddings, [n, D].
    level
        ``"system"`` for rows of structures, ``"point"`` for rows of atoms.
    num_kinds
        Number of different kinds (compositions or elements) that the rows describe. Rows of the same kind may
        legitimately have the same embedding. The effective rank is checked for four kinds or more.
    min_spread
        Smallest root mean square distance of the rows of unit length from their mean.
    max_constant
        Largest share of dimensions that may be constant.
    min_rank
        Smallest effective rank. It is checked for at least 8 rows of at least 8 dimensions.
    """
    rows, dims = embeddings.shape
    if rows < 4 or dims < 2 or num_kinds < 2:
        return []
    x = embeddings.double().cpu()
    if not bool(torch.isfinite(x).all()):
        return []
    x = x[torch.linspace(0, rows - 1, min(rows, MAX_ROWS)).long()]
    x = x / x.norm(dim=1, keepdim=True).clamp_min(1e-30)
    centered = x - x.mean(dim=0)
    variances = centered.square().mean(dim=0)
    spread = float(variances.sum().sqrt())
    constant = float((variances.sqrt() < 1e-6).double().mean())
    if spread < min_spread:
        seen = (
            f"All {level} embeddings of the batch point in the same direction (spread {spread:.1e} of their "
            "length)."
        )
    elif constant > max_constant:
        seen = f"{round(constant * dims)} of {dims} dimensions of the {level} embeddings are constant."
    elif min(rows, dims) >= 8 and num_kinds >= 4 and (rank := effective_rank(centered)) < min_rank:
        seen = f"The {level} embeddings vary only along one line (effective rank {rank:.2f} of {dims})."
    else:
        return []
    return [
        Problem(
            check="collapsed_embeddings",
            severity="warning",
            message=seen,
            advice="The heads cannot distinguish the inputs. Lower the learning rate, and check for dead "
            "activations and for oversmoothing by too many layers.",
            where=f"{level} embedding",
        )
    ]


def effective_rank(centered: Tensor) -> float:
    """Return exp(entropy) of the normalized eigenvalues of the covariance of ``centered`` rows, [n, D]."""
    power = torch.linalg.svdvals(centered).square()
    share = power / power.sum()
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))


def count_elements(view: BatchView | None, rows: int) -> int:
    """Return the number of elements in the batch, or the number of rows if the elements are unknown."""
    if view is None or view.atomic_numbers is None or len(view.pos) != rows:
        return rows
    return len(view.atomic_numbers.unique())


def count_compositions(view: BatchView | None, rows: int) -> int:
    """Return the number of compositions in the batch, or the number of rows if the elements are unknown.

    If all structures have the same composition but different positions, the number is two.
    """
    if view is None or view.atomic_numbers is None or view.num_structures != rows:
        return rows
    masks = [view.structure_of == i for i in range(rows)]
    compositions = {tuple(sorted(view.atomic_numbers[mask].tolist())) for mask in masks}
    if len(compositions) > 1:
        return len(compositions)
    return min(2, len({view.pos[mask].numpy().tobytes() for mask in masks}))
