"""Tasks for vectors and symmetric tensors of a structure, such as dipole moments and dielectric tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mml_samples import Batch, Graph, atom_counts, graph_of, sample_name
from torch import Tensor, nn

from mml_tasks.base import BaseTaskModule
from mml_tasks.batches import sum_by_structure
from mml_tasks.encoder import embed_atoms
from mml_tasks.normalization.scale_rules import VectorRules
from mml_tasks.protocols import Statistics
from mml_tasks.tasks.atom_vectors import at_least_single
from mml_tasks.tasks.structure_heads import MomentSource, SymmetricTensorHead, VectorMomentHead


class _MomentTask(BaseTaskModule):
    """Base class of tasks whose outputs are sums or means over equivariant shares of the atoms."""

    default_reduction: ClassVar[str]

    def _build_given(self) -> None:
        self.reduction: str = self.hparams["embedding_reduction_type"] or self.default_reduction
        if self.hparams["task_keys"] is not None:
            self.set_task_keys(self.hparams["task_keys"])

    def infer_task_keys(self, statistics: Mapping[str, Statistics]) -> list[str]:
        """Return the targets of this kind, other than the stress, which is the derivative of an energy."""
        return [k for k, about in statistics.items() if about.get("kind") in self.kinds and k != "stress"]

    def scale_rules(self, task_keys: Sequence[str]) -> VectorRules:
        """Return rules that scale all components by one number, without a mean."""
        return VectorRules(task_keys, self.extensive_keys, task_keys)

    def normalized_outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return every output of the batch in the units of the loss."""
        graph = graph_of(batch)
        points, vectors = embed_atoms(self.encoder, batch)
        return {
            key: self._pooled(head(points, vectors, graph), graph) for key, head in self.output_heads.items()
        }

    def _pooled(self, shares: Tensor, graph: Graph) -> Tensor:
        total = sum_by_structure(at_least_single(shares), graph)
        if self.reduction == "sum":
            return total
        return total / atom_counts(graph).view(-1, *[1] * (total.dim() - 1))


class VectorRegressionTask(_MomentTask):
    """Learn a vector of each structure that rotates with it, such as its dipole moment, [B, 3].

    Parameters
    ----------
    encoder
        See `BaseTaskModule`.
    vector_source, vector_cutoff
        Source of the vector and cutoff of the edges, passed as ``source`` and ``cutoff`` to
        `VectorMomentHead`. ``"charges"`` is only for neutral molecules.
    **kwargs
        See `BaseTaskModule`. ``task_keys`` defaults to every target of the data module whose kind is
        ``vector``. ``embedding_reduction_type`` is ``"sum"`` by default, because dipole moments of molecules
        add up; ``"mean"`` is suitable for a vector per atom or per volume. Vectors are scaled by their root
        mean square. They have no mean, because a mean vector would define a direction.
    """

    default_reduction: ClassVar[str] = "sum"
    kinds: ClassVar[frozenset[str]] = frozenset({"vector"})

    def __init__(
        self,
        encoder: nn.Module | None = None,
        *,
        vector_source: MomentSource = "auto",
        vector_cutoff: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, **kwargs)
        self.vector_source: MomentSource = vector_source
        self.vector_cutoff = vector_cutoff
        self.save_hyperparameters({"vector_source": vector_source, "vector_cutoff": vector_cutoff})
        self._build_given()

    def make_head(self, key: str, width: int) -> nn.Module:
        """Return a `VectorMomentHead`."""
        source, cutoff = self.vector_source, self.vector_cutoff
        return VectorMomentHead(self.encoder, width, source, cutoff, **self.output_kwargs)

    def check_batch(self, batch: Batch) -> None:
        """Check targets, and that a source of charges is only used for neutral molecules."""
        super().check_batch(batch)
        if self.vector_source == "charges":
            _check_neutral_molecules(batch)

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Predict a batch without a trainer, see `BaseTaskModule.predict`."""
        if self.vector_source == "charges":
            _check_neutral_molecules(batch)
        return super().predict(batch)


class TensorRegressionTask(_MomentTask):
    """Learn a symmetric tensor of each structure, [B, 3, 3], such as a dielectric tensor.

    The tensor rotates with the structure. For the stress, which is the derivative of an energy, use
    `ForceRegressionTask`.

    Parameters
    ----------
    encoder
        See `BaseTaskModule`.
    vector_cutoff
        Cutoff of the edges, passed as ``cutoff`` to `SymmetricTensorHead`.
    **kwargs
        See `BaseTaskModule`. ``task_keys`` defaults to every target of the data module whose kind is
        ``tensor``, without ``stress``. ``embedding_reduction_type`` is ``"mean"`` by default, because a
        dielectric tensor does not grow with the cell; ``"sum"`` is suitable for a polarizability. All
        components are scaled by their root mean square.
    """

    default_reduction: ClassVar[str] = "mean"
    kinds: ClassVar[frozenset[str]] = frozenset({"tensor"})

    def __init__(
        self, encoder: nn.Module | None = None, *, vector_cutoff: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(encoder, **kwargs)
        self.vector_cutoff = vector_cutoff
        self.save_hyperparameters({"vector_cutoff": vector_cutoff})
        self._build_given()

    def make_head(self, key: str, width: int) -> nn.Module:
        """Return a `SymmetricTensorHead`."""
        return SymmetricTensorHead(self.encoder, width, self.vector_cutoff, **self.output_kwargs)


def _check_neutral_molecules(batch: Batch) -> None:
    """Raise an error that names the first periodic or charged structure of a batch."""
    graph = graph_of(batch)
    periodic = getattr(graph, "pbc", None)
    if periodic is not None and periodic.any():
        row = int(periodic.view(-1, 3).any(dim=1).nonzero()[0])
        raise ValueError(
            f'{sample_name(batch, row)} is periodic, but vector_source="charges" requires molecules, because '
            'the moment of charges depends on the choice of the cell. Use vector_source="edges"'
        )
    charge = batch.get("charge")
    if charge is not None and charge.nan_to_num().any():
        row = int(charge.nan_to_num().reshape(-1).nonzero()[0])
        raise ValueError(
            f"{sample_name(batch, row)} has charge {charge.reshape(-1)[row].item():g}, but "
            'vector_source="charges" requires neutral molecules. Use vector_source="edges"'
        )
