"""Base class of tasks that predict one vector per atom directly, not as a derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mml_samples import Batch, Graph, graph_of
from torch import Tensor, nn

from mml_tasks.base import BaseTaskModule
from mml_tasks.encoder import embed_atoms
from mml_tasks.normalization.scale_rules import VectorRules
from mml_tasks.tasks.vector_head import VectorHead, VectorSource


class AtomVectorTask(BaseTaskModule):
    """Base class of tasks with one `VectorHead` for each target of shape [N, 3].

    Parameters
    ----------
    encoder
        See `BaseTaskModule`.
    vector_source, vector_cutoff
        Source of the vectors and cutoff of the edges, passed as ``source`` and ``cutoff`` to `VectorHead`.
    **kwargs
        See `BaseTaskModule`. Vectors are scaled by one number. They have no mean, because a mean vector would
        define a direction.
    """

    def __init__(
        self,
        encoder: nn.Module | None = None,
        *,
        vector_source: VectorSource = "auto",
        vector_cutoff: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, **kwargs)
        self.vector_source: VectorSource = vector_source
        self.vector_cutoff = vector_cutoff
        self.save_hyperparameters({"vector_source": vector_source, "vector_cutoff": vector_cutoff})

    def vector_keys(self, task_keys: Sequence[str]) -> list[str]:
        """Return the targets that are vectors of atoms."""
        return list(task_keys)

    def make_head(self, key: str, width: int) -> nn.Module:
        """Return a `VectorHead` for a vector target, and an `OutputHead` for others."""
        if key not in self.vector_keys([key]):
            return super().make_head(key, width)
        return VectorHead(self.encoder, width, self.vector_source, self.vector_cutoff, **self.output_kwargs)

    def scale_rules(self, task_keys: Sequence[str]) -> VectorRules:
        """Return rules that scale vectors by one number, without a mean."""
        return VectorRules(task_keys, self.extensive_keys, self.vector_keys(task_keys))

    def normalized_outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the vectors of every target, [N, 3], in the units of the loss."""
        return self.outputs_of(*embed_atoms(self.encoder, batch), graph_of(batch))

    def outputs_of(self, points: Tensor, vectors: Tensor | None, graph: Graph) -> dict[str, Tensor]:
        """Return the outputs of the heads, computed from the output of the encoder."""
        outputs = {
            key: self.output_heads[key](points, vectors, graph)
            for key in self.vector_keys(list(self.output_heads))
        }
        return {key: at_least_single(value) for key, value in outputs.items()}


def at_least_single(value: Tensor) -> Tensor:
    """Return ``value`` in single precision if it has half precision, as under autocast; else unchanged."""
    return value.to(torch.promote_types(value.dtype, torch.float32))
