"""Protocols for the objects that this package uses from other packages, so that it need not import them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeAlias, TypedDict, runtime_checkable

import torch
from mml_samples import Array, Batch
from torch import Tensor, nn

Statistics: TypeAlias = Mapping[str, Any]
"""Statistics of one target, see `HasTargetStatistics`."""

Checkpoint: TypeAlias = dict[str, Any]
"""Contents of a checkpoint, as saved by Lightning."""


class ExtendedBatch(Batch, total=False):
    """Batch with further keys, which tasks and their transforms add to those of the sample contract."""

    noisy_pos: Tensor
    """Positions with noise, [N, 3] angstrom, of the transform ``NoisyPositions``."""
    normalized_targets: dict[str, dict[str, Tensor]]
    """Targets that were normalized on the host, by task; see `TaskSteps.prepare_batch`."""
    accumulation_window: list[dict[str, Array]]
    """Targets of all batches of the optimizer step; see `mml_tasks.trainer.accumulation`."""


class StepResult(TypedDict, total=False):
    """Result of a validation, test or prediction step."""

    predictions: dict[str, Tensor]
    """Outputs by name, in physical units."""
    targets: dict[str, Tensor]
    """Targets by name, in physical units; missing in prediction."""
    natoms: Tensor
    """Number of atoms of each structure, [B]."""
    sample_id: list[str] | None
    """Names of the samples, or None if the batch has none."""


class Embeddings(Protocol):
    """Output of an encoder: ``system_embedding`` [B, D] and ``point_embedding`` [N, D]."""

    system_embedding: Tensor
    point_embedding: Tensor


class Encoder(Protocol):
    """Module that maps a batch, of which it reads ``batch["graph"]``, to embeddings of width ``output_dim``.

    Two further attributes are optional. ``cutoff`` is the distance in angstrom beyond which edges do not
    contribute. ``vector_dim`` K declares that the embeddings also have ``point_vectors`` [N, K, 3], which
    rotate with the structure.
    """

    output_dim: int

    def __call__(self, batch: Batch) -> Embeddings:
        """Embed every atom and every structure of the batch."""
        ...


@runtime_checkable
class HasTargetStatistics(Protocol):
    """Data module that provides the statistics of its training split.

    ``target_statistics()`` maps each target to ``{"mean", "std", "rms", "min", "max", "count"}`` in physical
    units. Scalars of a structure also have ``"per_atom_mean"`` and ``"per_atom_std"``. Integer and boolean
    targets have ``"classes"``, ``"class_counts"`` and ``"count"`` instead. If available, ``"missing"`` is the
    number of labels that are NaN, and a total energy has ``"reference_energies"``, in eV by element symbol.
    ``"mean"``, ``"std"`` and ``"rms"`` may be lists in the shape of the target's components.
    """

    def target_statistics(self) -> Mapping[str, Statistics]:
        """Return the statistics of every target of the training split."""
        ...


@runtime_checkable
class PredictingTask(Protocol):
    """Task that predicts energy or forces without a trainer, such as a `BaseTaskModule`.

    A task may also have a method ``node_energies(batch)``, which returns the energies of the atoms, and an
    attribute ``compute_stress``, which turns the stress on and off.
    """

    output_heads: nn.ModuleDict

    @property
    def normalizers(self) -> nn.ModuleDict:
        """Normalizers by output."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters."""
        ...

    def predict(self, batch: Batch) -> dict[str, Any]:
        """Return every output of a batch by name, in physical units."""
        ...
