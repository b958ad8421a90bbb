"""Callbacks that collect the predictions of a model for the report, or write them to a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from matsciml.report.metrics import Classification, Quantity, Regression
from matsciml.units import UNITS


class PredictionCollector(Callback):
    """Callback that collects the outputs of every test batch on the CPU.

    It reads the return value of the tasks' ``test_step``: ``predictions``, ``targets``, ``natoms`` and
    ``sample_id``, in physical units. Other return values are ignored.
    """

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Clear the outputs of an earlier evaluation."""
        self.batches = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Store the outputs of the batch."""
        if isinstance(outputs, Mapping) and {"predictions", "targets", "natoms"} <= outputs.keys():
            self.batches.append(_to_cpu(outputs))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the batches of all ranks."""
        if trainer.world_size > 1:
            gathered: list[list[dict[str, Any]]] = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(gathered, self.batches)
            self.batches = [batch for rank in gathered for batch in rank]

    def quantities(self, statistics: Mapping[str, Mapping[str, Any]]) -> list[Quantity]:
        """Return the predictions and labels of each target.

        Parameters
        ----------
        statistics
            Statistics of the training targets by name, for the baselines: ``mean``, ``per_atom_mean`` or
            ``class_counts``.
        """
        if not self.batches:
            return []
        num_atoms = np.concatenate([_array(b["natoms"]).reshape(-1) for b in self.batches])
        quantities: list[Quantity] = []
        for key in self.batches[0]["predictions"]:
            predicted = np.concatenate([_array(b["predictions"][key]) for b in self.batches])
            labels = [b["targets"][key] for b in self.batches]
            target = np.concatenate([_array(label) for label in labels])
            known = statistics.get(key, {})
            if not labels[0].is_floating_point():
                quantities.append(_classification(key, predicted, target, known))
            elif key == "energy":
                per_atom = num_atoms.astype(np.float64)
                baseline = float(known.get("per_atom_mean", 0.0))
                quantities.append(
                    Regression(
                        "energy_per_atom",
                        UNITS["energy_per_atom"],
                        predicted.reshape(-1) / per_atom,
                        target.reshape(-1) / per_atom,
                        baseline,
                    )
                )
            else:
                baseline = 0.0 if key == "force" else float(np.mean(known.get("mean", 0.0)))
                quantities.append(
                    Regression(key, UNITS.get(key, ""), predicted.reshape(-1), target.reshape(-1), baseline)
                )
        return quantities


class PredictionWriter(Callback):
    """Callback that writes the predictions of `Trainer.predict` as JSON lines, one structure per line.

    The predictions are not kept in memory.

    Parameters
    ----------
    path
        Path of the file. It is written under a temporary name and renamed after the last batch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the file."""
        if trainer.world_size > 1:
            raise ValueError(
                f"predict runs on one device, got {trainer.world_size}; pass --trainer.devices 1"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self.path.with_suffix(".partial")
        self._file = self._partial.open("w", encoding="utf-8")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the structures of one batch."""
        for line in _per_structure(outputs):
            self._file.write(json.dumps(line) + "\n")
            self.count += 1

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the file and rename it to its final name."""
        self._file.close()
        self._partial.replace(self.path)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the incomplete file."""
        if hasattr(self, "_file"):
            self._file.close()
            self._partial.unlink(missing_ok=True)


def _per_structure(outputs: object) -> list[dict[str, Any]]:
    """Split the outputs of one batch into one JSON-serializable record per structure."""
    if not (isinstance(outputs, Mapping) and {"predictions", "natoms"} <= outputs.keys()):
        raise ValueError(
            "predict_step must return {'predictions': ..., 'natoms': ...} to write its predictions to "
            f"a file, got {type(outputs).__name__}"
        )
    num_atoms = [int(n) for n in outputs["natoms"].reshape(-1).tolist()]
    ids = outputs.get("sample_id") or [None] * len(num_atoms)
    lines: list[dict[str, Any]] = [{"sample_id": i, "natoms": n} for i, n in zip(ids, num_atoms, strict=True)]
    for key, value in outputs["predictions"].items():
        per_atom = len(value) == sum(num_atoms) and key == "force"
        parts = value.split(num_atoms) if per_atom else value
        for line, part in zip(lines, parts, strict=True):
            line[key] = part.item() if part.numel() == 1 and not per_atom else part.tolist()
    return lines


def _classification(
    key: str, logits: np.ndarray, target: np.ndarray, known: Mapping[str, Any]
) -> Classification:
    """Convert logits [n, 1] (binary) or [n, classes] to classes."""
    scores = logits.reshape(len(target.reshape(-1)), -1)
    predicted = (scores[:, 0] > 0).astype(np.int64) if scores.shape[1] == 1 else scores.argmax(axis=1)
    counts, classes = known.get("class_counts", [1]), known.get("classes", [0])
    return Classification(
        key,
        predicted.astype(np.int64),
        target.reshape(-1).astype(np.int64),
        int(classes[int(np.argmax(counts))]),
    )


def _array(value: torch.Tensor) -> np.ndarray:
    return value.detach().cpu().to(torch.float64).numpy()


def _to_cpu(value: object) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: _to_cpu(part) for key, part in value.items()}
    return value
