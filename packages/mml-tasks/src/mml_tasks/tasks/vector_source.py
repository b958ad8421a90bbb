"""Choose what a prediction of vectors is made from: vectors of the encoder, or the directions of edges."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mml_tasks.encoder import vector_dim

__all__ = ["choose_source", "edge_cutoff"]


def choose_source(encoder: nn.Module, source: str, choices: Sequence[str]) -> str:
    """Return the source of vectors; ``"auto"`` is ``"encoder"`` if the encoder has vectors, else ``"edges"``.

    Raises
    ------
    ValueError
        If ``source`` is not one of ``choices``, or if it is ``"encoder"`` and the encoder has no vectors.
    """
    if source not in choices:
        raise ValueError(f"vector_source must be one of {list(choices)}, got {source!r}")
    if source == "encoder" and not vector_dim(encoder):
        raise ValueError(
            'vector_source="encoder" requires an encoder with a vector_dim, but '
            f'{type(encoder).__name__} has none. Use vector_source="edges"'
        )
    if source == "auto":
        return "encoder" if vector_dim(encoder) else "edges"
    return source


def edge_cutoff(encoder: nn.Module, cutoff: float | None) -> float:
    """Return ``cutoff``, or else the cutoff of the encoder.

    Raises
    ------
    ValueError
        If neither is a positive number.
    """
    found = getattr(encoder, "cutoff", None) if cutoff is None else cutoff
    if not (isinstance(found, (int, float)) and found > 0):
        raise ValueError(
            f"a prediction along edges requires a positive cutoff, but encoder {type(encoder).__name__} has "
            f"cutoff={found}. Pass vector_cutoff in angstrom"
        )
    return float(found)
