"""Base class of tasks whose targets are intensive properties of whole structures."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from mml_samples import Batch, atom_counts, graph_of
from torch import Tensor, nn

from mml_tasks.base import BaseTaskModule
from mml_tasks.batches import sum_by_structure
from mml_tasks.encoder import embed

Readout = Literal["mean", "sum", "system"]


class StructureTask(BaseTaskModule):
    """Base class of tasks with one head per target, applied to one embedding per structure.

    Parameters
    ----------
    encoder
        See `BaseTaskModule`.
    readout
        Input of the heads. ``"mean"`` is the mean of a structure's ``point_embedding``; it makes every output
        intensive for any encoder, so that a supercell has the same values as its unit cell. ``"sum"`` is
        their sum, which grows with the structure. ``"system"`` is the encoder's ``system_embedding``, which
        is intensive only if the encoder does not sum over atoms. Default: ``embedding_reduction_type`` if it
        is given, else ``"mean"``.
    **kwargs
        See `BaseTaskModule`.

    Raises
    ------
    ValueError
        If ``readout`` is not one of these values, or contradicts ``embedding_reduction_type``.
    """

    def __init__(
        self, encoder: nn.Module | None = None, *, readout: Readout | None = None, **kwargs: Any
    ) -> None:
        super().__init__(encoder, **kwargs)
        reduction = self.hparams["embedding_reduction_type"]
        if readout not in (None, *get_args(Readout)):
            raise ValueError(f"readout must be one of {list(get_args(Readout))}, got {readout!r}")
        if None not in (readout, reduction) and readout != reduction:
            raise ValueError(
                f"readout={readout!r} and embedding_reduction_type={reduction!r} contradict each other. Pass "
                "only one of them"
            )
        self.readout: Readout = readout or reduction or "mean"
        self.save_hyperparameters({"readout": readout})
        if self.hparams["task_keys"] is not None:
            self.set_task_keys(self.hparams["task_keys"])

    def normalized_outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the output of each head, [B, width], in the units of the loss and in float32 or wider."""
        if self.readout == "system":
            embedding = embed(self.encoder, batch, "system_embedding")
        else:
            graph = graph_of(batch)
            points = embed(self.encoder, batch, "point_embedding")
            embedding = sum_by_structure(points, graph)
            if self.readout == "mean":
                embedding = embedding / atom_counts(graph).view(-1, 1)
        outputs = {key: head(embedding) for key, head in self.output_heads.items()}
        return {k: value.to(torch.promote_types(value.dtype, torch.float32)) for k, value in outputs.items()}
