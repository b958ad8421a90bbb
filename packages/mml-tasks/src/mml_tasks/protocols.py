"""The shapes that this package needs from its siblings, as protocols, so that it imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


class Embeddings(Protocol):
    """What an encoder returns: ``system_embedding`` [B, D] and ``point_embedding`` [N, D]."""

    system_embedding: Tensor
    point_embedding: Tensor


class Encoder(Protocol):
    """A module that maps a batch, read through ``batch["graph"]``, to embeddings of width ``output_dim``.

    Two more attributes are used where there are any: ``cutoff`` (angstrom), beyond which edges count nothing,
    and ``vector_dim`` K, which says that the embeddings also have ``point_vectors`` [N, K, 3] that turn with
    the structure.
    """

    output_dim: int

    def __call__(self, batch: Mapping[str, Any]) -> Embeddings:
        """Embed every atom and every structure of the batch."""
        ...


@runtime_checkable
class HasTargetStatistics(Protocol):
    """A data module that knows the statistics of its training split.

    ``target_statistics()`` maps each target to ``{"mean", "std", "rms", "min", "max", "count"}`` in physical
    units; scalars of a structure also have ``"per_atom_mean"`` and ``"per_atom_std"``; integer and boolean
    targets have ``"classes"``, ``"class_counts"`` and ``"count"`` instead. Where known, ``"missing"`` counts
    labels that are NaN, and a total energy has ``"reference_energies"``, eV by element symbol. ``"mean"``,
    ``"std"`` and ``"rms"`` may be lists in the shape of the target's components.
    """

    def target_statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the statistics of every target of the training split."""
        ...
