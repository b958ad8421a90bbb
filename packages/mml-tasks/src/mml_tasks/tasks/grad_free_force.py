"""Task that predicts forces directly instead of as derivatives of an energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mml_samples import Graph
from torch import Tensor, nn

from mml_tasks.batches import sum_by_structure
from mml_tasks.tasks.atom_vectors import AtomVectorTask, at_least_single


class GradFreeForceRegressionTask(AtomVectorTask):
    r"""Learn forces, and optionally energies, with one head for each.

    A training step costs about half as much as one of `ForceRegressionTask`, because no second derivatives
    are needed. In return, the forces are not the derivative of an energy: molecular dynamics does not
    conserve energy, and relaxations may not converge. Forces and energies are scaled independently.

    Whether the forces are equivariant depends on their source, see `VectorHead`. Forces along edges (the
    default for encoders with invariant embeddings) and forces from the encoder's own vectors are equivariant.
    Forces from ``vector_source="components"`` are not.

    Parameters
    ----------
    encoder, vector_source, vector_cutoff
        See `AtomVectorTask`.
    **kwargs
        See `BaseTaskModule`. ``task_keys`` defaults to ``["force"]``. With ``["energy", "force"]``, the task
        learns energies as well. They are sums of node energies, :math:`E = s \sum_i e_i + \sum_i m`, and
        their loss is computed per atom, as in `ForceRegressionTask`. With ``normalize_kwargs="auto"``, forces
        are scaled by their root mean square, and energies by the standard deviation of the energy per atom.

    Raises
    ------
    ValueError
        If ``task_keys`` names another target.
    """

    extensive_keys: ClassVar[frozenset[str]] = frozenset({"energy"})
    progress_keys: ClassVar[tuple[str, ...]] = ("energy", "force")
    reductions: ClassVar[tuple[str, ...]] = ("sum",)

    def __init__(self, encoder: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(encoder, **kwargs)
        keys = ["force"] if self.hparams["task_keys"] is None else self.hparams["task_keys"]
        for key in keys:
            if key not in ("energy", "force"):
                raise ValueError(
                    f"GradFreeForceRegressionTask cannot learn {key!r}, expected 'energy' or 'force'"
                )
        self.set_task_keys(keys)

    def vector_keys(self, task_keys: Sequence[str]) -> list[str]:
        """Return the targets without ``energy``."""
        return [key for key in task_keys if key != "energy"]

    def outputs_of(self, points: Tensor, vectors: Tensor | None, graph: Graph) -> dict[str, Tensor]:
        """Return forces [N, 3], and energies [B, 1] if they are learned, in the units of the loss."""
        outputs = super().outputs_of(points, vectors, graph)
        if "energy" in self.output_heads:
            node_energy = at_least_single(self.output_heads["energy"](points))
            outputs["energy"] = sum_by_structure(node_energy, graph)
        return outputs
