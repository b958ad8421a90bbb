"""Calling an encoder, and checking that it returned what a task needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from mml_tasks.batches import atom_counts, graph_of


def embed(
    encoder: nn.Module, batch: Mapping[str, Any], name: Literal["point_embedding", "system_embedding"]
) -> Tensor:
    """Return one of the encoder's embeddings of the batch, [N, output_dim] or [B, output_dim].

    Raises
    ------
    TypeError
        If the encoder did not return it.
    ValueError
        If its shape is another.
    """
    embeddings = encoder(batch)
    who = f"the encoder {type(encoder).__name__} returned a"
    embedding = getattr(embeddings, name, None)
    if not isinstance(embedding, Tensor):
        raise TypeError(
            f"{who} {type(embeddings).__name__} without {name!r}: a task needs an object with system_embedding "
            "and point_embedding"
        )
    graph = graph_of(batch)
    rows = graph.atomic_numbers if name == "point_embedding" else atom_counts(graph)
    expected = [rows.shape[0], encoder.output_dim]
    if list(embedding.shape) != expected:
        raise ValueError(f"{who} {name} of shape {list(embedding.shape)}, where {expected} was expected")
    return embedding
