"""Tasks whose targets belong to a whole structure and do not grow with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mml_tasks.base import BaseTaskModule
from mml_tasks.batches import atom_counts, graph_of, sum_by_structure
from mml_tasks.encoder import embed

Readout = Literal["mean", "system"]


class StructureTask(BaseTaskModule):
    """One head for each target, on one embedding for each structure.

    Parameters
    ----------
    encoder
        As in `BaseTaskModule`.
    readout
        What the heads read: ``"mean"``, the mean of a structure's ``point_embedding``, which makes every
        output intensive (a supercell has the values of its cell) whatever the encoder; or ``"system"``, the
        encoder's ``system_embedding``, which is intensive only where the encoder does not sum over atoms.
    **kwargs
        As in `BaseTaskModule`.

    Raises
    ------
    ValueError
        If ``readout`` is something else.
    """

    def __init__(self, encoder: nn.Module | None = None, *, readout: Readout = "mean", **kwargs: Any) -> None:
        super().__init__(encoder, **kwargs)
        if readout not in ("mean", "system"):
            raise ValueError(f'readout must be "mean" or "system", got {readout!r}')
        self.readout = readout
        self.save_hyperparameters({"readout": readout})
        if self.hparams["task_keys"] is not None:
            self.set_task_keys(self.hparams["task_keys"])

    def normalized_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the output of every head, [B, width], in the units of the loss and in single precision."""
        if self.readout == "system":
            embedding = embed(self.encoder, batch, "system_embedding")
        else:
            graph = graph_of(batch)
            points = embed(self.encoder, batch, "point_embedding")
            embedding = sum_by_structure(points, graph) / atom_counts(graph).view(-1, 1)
        outputs = {key: head(embedding) for key, head in self.output_heads.items()}
        return {k: value.to(torch.promote_types(value.dtype, torch.float32)) for k, value in outputs.items()}
