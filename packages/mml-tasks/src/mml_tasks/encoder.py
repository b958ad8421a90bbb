"""Create encoders, call them, and check their output."""

from __future__ import annotations

from typing import Any, Literal, cast

from mml_samples import Batch, atom_counts, graph_of
from torch import Tensor, nn

from mml_tasks.hyperparameters import import_class


def make_encoder(
    encoder: nn.Module | None,
    encoder_class: str | type[nn.Module] | None,
    encoder_kwargs: dict[str, Any] | None,
) -> nn.Module:
    """Return ``encoder``, or create it from its class or import path and its arguments.

    Raises
    ------
    TypeError
        If the encoder is not a module with an integer ``output_dim``.
    ValueError
        If both or neither of ``encoder`` and ``encoder_class`` are given, ``encoder_kwargs`` is given with an
        instance, or the path does not name a module class.
    """
    if (encoder is None) == (encoder_class is None):
        found = "both" if encoder is not None else "neither"
        raise ValueError(f"pass either encoder or encoder_class, got {found}")
    if encoder is None:
        assert encoder_class is not None
        if isinstance(encoder_class, str):
            encoder_class = import_class(encoder_class, "encoder_class", nn.Module)
        encoder = encoder_class(**(encoder_kwargs or {}))
    elif encoder_kwargs:
        raise ValueError("encoder_kwargs requires encoder_class. Pass encoder_class instead of encoder")
    if not isinstance(encoder, nn.Module):
        raise TypeError(f"encoder must be a torch.nn.Module, got {type(encoder).__name__}")
    if not isinstance(getattr(encoder, "output_dim", None), int):
        raise TypeError(
            f"encoder {type(encoder).__name__} has no integer 'output_dim', the width of its embeddings"
        )
    return encoder


def embed(encoder: nn.Module, batch: Batch, name: Literal["point_embedding", "system_embedding"]) -> Tensor:
    """Return one of the encoder's embeddings of the batch, [N, output_dim] or [B, output_dim].

    Raises
    ------
    TypeError
        If the encoder did not return this embedding.
    ValueError
        If the embedding has a different shape.
    """
    graph = graph_of(batch)
    rows = graph.atomic_numbers if name == "point_embedding" else atom_counts(graph)
    expected = [rows.shape[0], cast("Any", encoder).output_dim]
    return _checked(encoder, encoder(batch), name, expected)


def vector_dim(encoder: nn.Module) -> int:
    """Return the number of equivariant vectors per atom that the encoder declares; 0 for most encoders."""
    width = getattr(encoder, "vector_dim", 0)
    return width if isinstance(width, int) else 0


def embed_atoms(encoder: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Return ``point_embedding`` [N, output_dim], and ``point_vectors`` [N, K, 3] if the encoder has vectors.

    K is the encoder's ``vector_dim``. The vectors rotate with the structure. They are None if K is 0.

    Raises
    ------
    TypeError
        If the encoder did not return one of them.
    ValueError
        If one of them has a different shape.
    """
    atoms, width = graph_of(batch).atomic_numbers.shape[0], vector_dim(encoder)
    embeddings = encoder(batch)
    points = _checked(encoder, embeddings, "point_embedding", [atoms, cast("Any", encoder).output_dim])
    vectors = _checked(encoder, embeddings, "point_vectors", [atoms, width, 3]) if width else None
    return points, vectors


def _checked(encoder: nn.Module, embeddings: object, name: str, expected: list[int]) -> Tensor:
    name_of_encoder = type(encoder).__name__
    embedding = getattr(embeddings, name, None)
    if not isinstance(embedding, Tensor):
        raise TypeError(
            f"encoder {name_of_encoder} returned a {type(embeddings).__name__} without {name!r}. Return an "
            "object with system_embedding and point_embedding"
            + (", and with point_vectors if the encoder has a vector_dim" if name == "point_vectors" else "")
        )
    if list(embedding.shape) != expected:
        raise ValueError(
            f"{name} of encoder {name_of_encoder} has shape {list(embedding.shape)}, expected {expected}"
        )
    return embedding


def check_log_embeddings(log_embeddings: bool, every_n_steps: int) -> None:
    """Raise an error if ``log_embeddings`` is True; the message names the callback that logs embeddings."""
    if log_embeddings:
        raise ValueError(
            "log_embeddings=True is not supported. Add the callback TrainingHelperCallback("
            f"update_freq={every_n_steps}) of mml-diagnostics, which logs histograms of embeddings"
        )
