"""Base class of the graph encoders, and the checks and the pooling that encoders share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from mml_samples import Batch
from torch import Tensor, nn

from mml_models.batch import AtomGraph, read_graph
from mml_models.elements import KnownElements
from mml_models.embeddings import Embeddings
from mml_models.layers.edges import Edges, edges_within
from mml_models.traced import forbid_second_derivatives


class GraphEncoder(nn.Module, ABC):
    """Base class of encoders that pass messages along the edges of the batch.

    Subclasses implement `embed_atoms`. This class reads the batch, drops edges beyond the cutoff, raises an
    error for elements that the encoder does not accept, and pools the atoms.

    Parameters
    ----------
    output_dim
        Length D of the embedding vectors.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    reduction
        Pooling of the atoms into `system_embedding`: "sum", which grows with the structure, or "mean".
    elements
        Module that checks the elements of a batch. Most encoders pass the module that also embeds them.

    Attributes
    ----------
    receptive_field
        Distance in angstrom beyond which an atom does not change the embedding of another atom. None if it is
        unknown. For most encoders it is the number of layers times the cutoff. If it is set,
        `mml_models.testing.check_encoder` checks it.
    compiled_second_derivatives
        Whether the encoder can be trained on forces after ``encoder.compile(backend="eager")``. If True,
        `mml_models.testing.check_encoder` compares the gradients with those in eager mode. Set it to False if
        `torch.compile` cannot trace the second derivatives of the encoder. Training the compiled encoder on
        forces then raises a RuntimeError.
    """

    elements: Any  # KnownElements, or ElementEmbedding if the encoder has its own table
    receptive_field: float | None = None
    compiled_second_derivatives: bool = True

    def __init__(
        self, output_dim: int, cutoff: float, reduction: Literal["sum", "mean"], elements: KnownElements
    ) -> None:
        super().__init__()
        check_cutoff_and_reduction(cutoff, reduction)
        self.output_dim = output_dim
        self.cutoff = float(cutoff)
        self.reduction = reduction
        self.elements = elements

    @abstractmethod
    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""

    def embed_graph(self, graph: AtomGraph, edges: Edges) -> Tensor:
        """Embed the N atoms of a batch -> [N, output_dim].

        Override this method instead of `embed_atoms` if the encoder needs to know the structure of each atom.
        """
        return self.embed_atoms(graph.atomic_numbers, edges)

    def forward(self, batch: Batch) -> Embeddings:
        """Embed a batch of B structures with N atoms in total.

        Raises
        ------
        ValueError
            If the graph is incomplete, contains an element that the encoder does not accept, or was built
            with a radius below the encoder's cutoff.
        TypeError
            If the batch is not a mapping, or the graph is not a PyG or DGL graph.
        """
        graph = read_graph(batch)
        self.elements.check(graph, batch)
        check_radius(batch, self.cutoff)
        edges = edges_within(graph, self.cutoff, next(self.parameters()).dtype)
        points = self.embed_graph(graph, edges)
        if not self.compiled_second_derivatives:
            points = forbid_second_derivatives(points)
        return Embeddings(pool(points, graph, self.reduction), points)


def check_radius(batch: Batch, cutoff: float) -> None:
    """Raise a ValueError if the ``cutoff_radius`` of a structure in the batch is below `cutoff`.

    Edges would then appear and disappear at a distance at which they still contribute, and energies would
    jump when atoms move. Batches without ``cutoff_radius`` are not checked.
    """
    radius = batch.get("cutoff_radius")
    if radius is None:
        return
    smallest = float(torch.as_tensor(radius).min())
    if smallest < cutoff * (1.0 - 1e-6):
        raise ValueError(
            f"The graph was built with edges up to {smallest:g} angstrom, but the encoder's cutoff is "
            f"{cutoff:g} angstrom, so energies would jump at the distance at which edges end. Lower the "
            "encoder's cutoff, or raise cutoff_radius of PeriodicPropertiesTransform."
        )


def check_cutoff_and_reduction(cutoff: float, reduction: str) -> None:
    """Raise a ValueError if the cutoff is not a positive finite number or the reduction is unknown."""
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', got {reduction!r}")
    if not 0 < cutoff < math.inf:
        raise ValueError(f"cutoff must be a positive length in angstrom, got {cutoff}")


def positive(**sizes: int) -> None:
    """Raise a ValueError for the first of the named sizes that is not an integer or is below 1."""
    for name, size in sizes.items():
        if not isinstance(size, int):
            raise ValueError(f"{name} must be an integer, got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def pool(points: Tensor, graph: AtomGraph, reduction: str) -> Tensor:
    """Sum or average the atom vectors [N, D] over the atoms of each structure -> [B, D]."""
    total = points.new_zeros(graph.num_structures, points.shape[1]).index_add(0, graph.structure, points)
    if reduction == "sum":
        return total
    return total / torch.bincount(graph.structure, minlength=graph.num_structures).unsqueeze(1)
