"""Choose the function that joins the samples of a batch."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from mml_graphs import (
    GraphCollate,
    PeriodicPropertiesTransform,
    PointCloudToGraphTransform,
    collate_samples,
)
from mml_samples import Batch, Sample

from mml_data.transforms import Transform

__all__ = ["Collate", "CollateOption", "check_collate", "choose_collate"]

Collate = Callable[[list[Sample]], Batch]
"""Function from the samples of a batch to the batch."""

CollateOption = Literal["auto", "fused", "plain"]
"""How to join samples, see `mml_data.MatSciMLDataModule`."""

_FUSED = (PeriodicPropertiesTransform, PointCloudToGraphTransform)


def check_collate(option: str, transforms: Sequence[Transform]) -> None:
    """Check that a collate option exists and that the transforms allow it.

    Raises
    ------
    ValueError
        If `option` is unknown, or if it is ``"fused"`` and the last two transforms are not exactly of the
        classes that `mml_graphs.GraphCollate` replaces.
    """
    if option not in get_args(CollateOption):
        raise ValueError(f"collate must be 'auto', 'fused' or 'plain', got {option!r}")
    if option == "fused" and not _can_fuse(transforms):
        last = ", ".join(_describe(transform) for transform in transforms[-2:]) or "no transforms"
        raise ValueError(
            "collate='fused' requires that the last two transforms are PeriodicPropertiesTransform and "
            f"PointCloudToGraphTransform, got {last}. Change the transforms of the data module, or pass "
            "collate='auto'."
        )


def choose_collate(option: CollateOption, transforms: Sequence[Transform]) -> tuple[int, Collate]:
    """Choose how to join the samples of a batch.

    Parameters
    ----------
    option
        See `mml_data.MatSciMLDataModule`.
    transforms
        Transforms of the samples.

    Returns
    -------
    tuple
        Number of transforms to apply to each sample, and the function that joins the samples and applies the
        remaining transforms.

    Raises
    ------
    ValueError
        Under the conditions of `check_collate`.
    """
    check_collate(option, transforms)
    if option == "plain" or not _can_fuse(transforms):
        return len(transforms), collate_samples
    neighbors, graph = transforms[-2:]
    return len(transforms) - 2, GraphCollate(neighbors, graph)  # type: ignore[arg-type]


def _can_fuse(transforms: Sequence[Transform]) -> bool:
    """Return whether the last two transforms are the two of mml-graphs. A subclass may behave differently."""
    return tuple(type(transform) for transform in transforms[-2:]) == _FUSED


def _describe(transform: Transform) -> str:
    for kind in _FUSED:
        if isinstance(transform, kind) and type(transform) is not kind:
            return f"{type(transform).__name__} (a subclass of {kind.__name__})"
    return getattr(transform, "__name__", type(transform).__name__)
