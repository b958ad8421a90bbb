"""InferenceWriter: write the results of ``Trainer.predict`` to one file per rank."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mml_diagnostics._lightning import BasePredictionWriter, LightningModule, Trainer


def join_predictions(predictions: Sequence[object]) -> dict[str, np.ndarray]:
    """Concatenate the predictions of all batches, key by key, along their first dimension.

    Parameters
    ----------
    predictions
        One prediction per batch: a tensor, or a (nested) mapping of tensors, numbers and strings. Keys of
        nested mappings are joined by a slash. A single tensor has the key ``prediction``.

    Raises
    ------
    ValueError
        If the keys or shapes of a batch differ from those of the other batches.
    TypeError
        If a value has an unsupported type.
    """
    flat = [_flatten(prediction) for prediction in predictions]
    for i, batch in enumerate(flat):
        if batch.keys() != flat[0].keys():
            odd = ", ".join(sorted(batch.keys() ^ flat[0].keys()))
            raise ValueError(
                f"Batch {i} does not have the same keys as batch 0: {odd}. Return the same keys for all "
                "batches."
            )
    joined = {}
    for key in flat[0] if flat else ():
        try:
            joined[key] = np.concatenate([batch[key] for batch in flat])
        except ValueError as error:
            shapes = sorted({str(batch[key].shape[1:]) for batch in flat})
            raise ValueError(
                f"Predictions of {key} have different shapes in different batches: {shapes}."
            ) from error
    return joined


class InferenceWriter(BasePredictionWriter):
    """Write the results of ``Trainer.predict`` to ``results_rank<rank>.npz`` in ``output_dir``.

    Each rank writes its own predictions after the last batch. If there are several data loaders, the file
    names end in ``_loader<i>``. The files contain no pickles; read them with ``numpy.load``.

    Parameters
    ----------
    output_dir
        Directory of the files; created if it does not exist, when the first file is written.
    """

    def __init__(self, output_dir: str | Path) -> None:
        super().__init__(write_interval="epoch")
        self.output_dir = Path(output_dir)

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write one file per data loader."""
        several = bool(predictions) and all(isinstance(part, list) for part in predictions)
        parts: dict[str, Sequence[Any]] = {"": predictions}
        if several:
            parts = {f"_loader{i}": part for i, part in enumerate(predictions)}
        for suffix, part in parts.items():
            write_arrays(
                self.output_dir / f"results_rank{trainer.global_rank}{suffix}.npz", join_predictions(part)
            )


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``arrays`` to ``path`` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **dict(arrays))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _flatten(value: object, key: str = "") -> dict[str, np.ndarray]:
    if isinstance(value, Mapping):
        parts = [_flatten(part, f"{key}/{name}" if key else str(name)) for name, part in value.items()]
        return {name: array for part in parts for name, array in part.items()}
    name = key or "prediction"
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float() if value.dtype == torch.bfloat16 else value  # numpy has no bfloat16
        return {name: np.atleast_1d(value.numpy())}
    if isinstance(value, str | int | float | np.ndarray) or (
        isinstance(value, list | tuple) and all(isinstance(part, str | int | float) for part in value)
    ):
        return {name: np.atleast_1d(np.asarray(value))}
    raise TypeError(
        f"{name} must be a tensor, number, string or a mapping of these, got {type(value).__name__}"
    )
