"""Task for intensive scalars of a structure, such as band gap, formation energy per atom or density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from mml_tasks.protocols import Statistics
from mml_tasks.tasks.structure import StructureTask


class ScalarRegressionTask(StructureTask):
    """Learn one or several intensive scalars of a structure, with one head per scalar.

    Parameters
    ----------
    encoder, readout
        See `StructureTask`. For a total energy, which is extensive, use `ForceRegressionTask` with
        ``task_keys=["energy"]``.
    **kwargs
        See `BaseTaskModule`. ``task_keys`` defaults to every target of the data module with one real number
        per structure.
    """

    kinds: ClassVar[frozenset[str]] = frozenset(
        {"scalar", "class"}
    )  # classes as numbers, if the user says so

    def infer_task_keys(self, statistics: Mapping[str, Statistics]) -> list[str]:
        """Return the targets with one real number per structure."""
        return [key for key, numbers in statistics.items() if "per_atom_mean" in numbers]
