"""Numbers of a structure that do not grow with it: band gap, formation energy per atom, density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mml_tasks.structure import StructureTask


class ScalarRegressionTask(StructureTask):
    """Learn one or several intensive scalars of a structure, each with a head of its own.

    Parameters
    ----------
    encoder, readout
        As in `StructureTask`. For a total energy, which is extensive, use `ForceRegressionTask` with
        ``task_keys=["energy"]``.
    **kwargs
        As in `BaseTaskModule`. ``task_keys`` defaults to every target of the data module that is one real
        number for each structure.
    """

    def infer_task_keys(self, statistics: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Return the targets that are one real number for each structure."""
        return [key for key, numbers in statistics.items() if "per_atom_mean" in numbers]
