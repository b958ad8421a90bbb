"""Forces that are predicted themselves, and not as derivatives of an energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from mml_tasks.atom_vectors import AtomVectorTask, at_least_single
from mml_tasks.batches import sum_by_structure


class GradFreeForceRegressionTask(AtomVectorTask):
    r"""Learn forces, and optionally energies, with a head for each.

    A step costs about half of `ForceRegressionTask`'s, as nothing is differentiated twice. The price: forces
    are the derivative of no energy, so that molecular dynamics with them does not conserve energy, and
    relaxations may not end. Forces and energies have scales of their own.

    How forces turn with the structure depends on where they come from, see `VectorHead`: along edges (the
    default for encoders with invariant embeddings) or from the encoder's own vectors they are equivariant;
    from ``vector_source="components"`` they are not.

    Parameters
    ----------
    encoder, vector_source, vector_cutoff
        As in `AtomVectorTask`.
    **kwargs
        As in `BaseTaskModule`. ``task_keys`` defaults to ``["force"]``; ``["energy", "force"]`` learns
        energies as well, sums of node energies :math:`E = s \sum_i e_i + \sum_i m` with the loss taken per
        atom, as in `ForceRegressionTask`. With ``normalize_kwargs="auto"`` forces are scaled by their root
        mean square, energies by the standard deviation of the energy per atom.

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
                    f"GradFreeForceRegressionTask cannot learn {key!r}; known targets are ['energy', 'force']"
                )
        self.set_task_keys(keys)

    def vector_keys(self, task_keys: Sequence[str]) -> list[str]:
        """Return ``force``."""
        return [key for key in task_keys if key != "energy"]

    def outputs_of(self, points: Tensor, vectors: Tensor | None, graph: Any) -> dict[str, Tensor]:
        """Return forces [N, 3], and energies [B, 1] where they are learned, in the units of the loss."""
        outputs = super().outputs_of(points, vectors, graph)
        if "energy" in self.output_heads:
            node_energy = at_least_single(self.output_heads["energy"](points))
            outputs["energy"] = sum_by_structure(node_energy, graph)
        return outputs
