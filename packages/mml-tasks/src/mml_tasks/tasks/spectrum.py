"""Task for spectra of a structure, such as densities of states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from mml_tasks.normalization.scale_rules import ScaleRules, SpectrumRules
from mml_tasks.protocols import Statistics
from mml_tasks.tasks.sized_targets import SizedTargetTask
from mml_tasks.tasks.structure import Readout


class SpectrumRegressionTask(SizedTargetTask):
    """Learn a spectrum of each structure, [B, M]: M numbers that do not change if the structure is rotated.

    Parameters
    ----------
    encoder, readout
        See `StructureTask`. The default, ``"mean"``, is suitable for spectra per atom, which do not grow with
        the cell; use ``"sum"`` for spectra of the whole cell.
    num_bins
        Number of points M of each target. Default: that of the data module's targets.
    **kwargs
        See `BaseTaskModule`. ``task_keys`` defaults to every target of the data module whose kind is
        ``spectrum``. With ``normalize_kwargs="auto"``, each point has its own mean and its own scale; see
        `SpectrumRules`.

    Raises
    ------
    ValueError
        If the number of points of a target is unknown.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"spectrum"})
    size_argument: ClassVar[str] = "num_bins"
    size_name: ClassVar[str] = "number of points"

    def __init__(
        self,
        encoder: nn.Module | None = None,
        *,
        num_bins: dict[str, int] | None = None,
        readout: Readout | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, sizes=num_bins, readout=readout, **kwargs)

    def size_from(self, statistics: Statistics) -> int | None:
        """Return the number of points of a spectrum, or None for other targets."""
        if statistics.get("kind") != "spectrum":
            return None
        last = (statistics.get("shape") or [None])[-1]
        return last if isinstance(last, int) else len(statistics.get("bin_mean", ())) or None

    def scale_rules(self, task_keys: Sequence[str]) -> ScaleRules:
        """Return rules that normalize each point of a spectrum."""
        return SpectrumRules(task_keys)
