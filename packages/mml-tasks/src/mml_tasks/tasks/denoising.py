"""Pretraining task: predict the noise that was added to the positions of the atoms."""

from __future__ import annotations

from typing import Any, ClassVar, Final, cast

from mml_samples import Batch, graph_of
from torch import Tensor, nn

from mml_tasks.batches import private_copy
from mml_tasks.protocols import ExtendedBatch
from mml_tasks.tasks.atom_vectors import AtomVectorTask

TARGET = "denoise"
NOISY: Final = "noisy_pos"


class NodeDenoisingTask(AtomVectorTask):
    """Predict the displacement of every atom from its ideal position, without labels.

    The method is that of Zaidi et al., ICLR 2023 (arXiv 2206.00133).

    For an equilibrium structure, the noise points along the force of a potential whose minimum is that
    structure. The encoder therefore learns about forces (section 3).

    The transform ``NoisyPositions`` creates the target ``denoise`` [N, 3]: the displacements in angstrom, or
    in units of their scale if the transform normalizes them. If the transform stores the noisy positions as
    ``noisy_pos``, in the graph or in the batch, they replace ``pos`` in the input of the encoder. Otherwise
    ``pos`` is assumed to be noisy already. Predictions, including those of clean structures, are
    displacements from an ideal position, ``pos - noise``.

    Parameters
    ----------
    encoder, vector_source, vector_cutoff
        See `AtomVectorTask`.
    **kwargs
        See `BaseTaskModule`. The only valid ``task_keys`` are ``["denoise"]``. The statistics of stored data
        do not include the noise. Give ``normalize_kwargs={"denoise_std": ...}`` with the scale of the noise,
        or let the transform normalize.

    Raises
    ------
    ValueError
        If ``task_keys`` names another target, or ``normalize_kwargs`` is ``"auto"``.
    """

    transform_keys: ClassVar[frozenset[str]] = frozenset({TARGET})

    def __init__(self, encoder: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(encoder, **kwargs)
        if self.normalization.options.auto:
            raise ValueError(
                'normalize_kwargs="auto" requires stored targets, but the noise is drawn for each sample. '
                'Pass {"denoise_std": ...}, or use NoisyPositions(normalize=True)'
            )
        keys = [TARGET] if self.hparams["task_keys"] is None else self.hparams["task_keys"]
        if keys != [TARGET]:
            raise ValueError(f"task_keys of NodeDenoisingTask must be {[TARGET]}, got {keys}")
        self.set_task_keys(keys)

    def check_batch(self, batch: Batch) -> None:
        """Raise an error if the batch has no noise, or has targets that are not valid labels."""
        if not self.trainer.predicting and TARGET not in batch.get("targets", {}):
            raise ValueError(
                f"the batch has no target {TARGET!r}, its targets are {sorted(batch.get('targets', {}))}. "
                "Add NoisyPositions to the transforms of the data"
            )
        super().check_batch(batch)

    def normalized_outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the predicted noise of the noisy positions, [N, 3], in the units of the loss."""
        graph = graph_of(batch)
        noisy = getattr(graph, NOISY, None)
        if noisy is None:
            noisy = cast("ExtendedBatch", batch).get(NOISY)
        if noisy is not None:
            if noisy.shape != graph.pos.shape:
                raise ValueError(
                    f"{NOISY!r} must have the shape of the positions, {list(graph.pos.shape)}, got "
                    f"{list(noisy.shape)}"
                )
            batch = private_copy(batch)
            graph_of(batch).pos = noisy.to(graph.pos.dtype)
        return super().normalized_outputs(batch)
