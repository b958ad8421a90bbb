"""Callbacks that collect the predictions of a model for the report, or write them to a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from matsciml.report.json_values import json_value
from matsciml.report.metrics import Classification, Quantity, Regression
from matsciml.units import UNITS

MISSING_CLASS = -100
"""Class index of a missing label in the targets that classification tasks return."""


class PredictionCollector(Callback):
    """Callback that collects the outputs of every test batch on the CPU.

    It reads the return value of the tasks' ``test_step``: ``predictions``, ``targets``, ``natoms`` and
    ``sample_id``, in physical units. Other return values are ignored.
    """

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.first_labels: dict[str, int] = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Clear the outputs of an earlier evaluation, and read the first label of each class target."""
        self.batches = []
        self.first_labels = first_labels(pl_module)

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
        num_atoms = np.concatenate([_array(b["natoms"]).reshape(-1) for b in self.batches]).astype(np.int64)
        quantities: list[Quantity] = []
        for key in self.batches[0]["targets"]:
            predicted = np.concatenate([_array(b["predictions"][key]) for b in self.batches])
            labels = [b["targets"][key] for b in self.batches]
            target = np.concatenate([_array(label) for label in labels])
            known = statistics.get(key, {})
            if labels[0].is_floating_point():
                quantities.append(_regression(key, predicted, target, num_atoms, known))
            else:
                quantities.append(
                    _classification(key, predicted, target, self.first_labels.get(key, 0), known)
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
        for line in _per_structure(outputs, pl_module):
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


def first_labels(module: object) -> dict[str, int]:
    """Return the label of class 0 for each target of a classification task; other modules have none."""
    label_range = getattr(module, "label_range", None)
    keys = getattr(module, "task_keys", None) or []
    return {key: label_range(key)[0] for key in keys} if label_range is not None else {}


def _per_structure(outputs: object, module: object) -> list[dict[str, Any]]:
    """Split the outputs of one batch into one JSON-serializable record per structure.

    For classes, it contains the most likely label, and the logits under ``<target>_logits``.
    """
    if not (isinstance(outputs, Mapping) and {"predictions", "natoms"} <= outputs.keys()):
        raise ValueError(
            "predict_step must return {'predictions': ..., 'natoms': ...} to write its predictions to "
            f"a file, got {type(outputs).__name__}"
        )
    num_atoms = [int(n) for n in outputs["natoms"].reshape(-1).tolist()]
    ids = outputs.get("sample_id") or [None] * len(num_atoms)
    lines: list[dict[str, Any]] = [{"sample_id": i, "natoms": n} for i, n in zip(ids, num_atoms, strict=True)]
    for key, value in outputs["predictions"].items():
        if hasattr(module, "predicted_labels"):
            for line, label in zip(lines, module.predicted_labels(key, value), strict=True):
                line[key] = label
            key = f"{key}_logits"
        per_atom = len(value) == sum(num_atoms) and (key == "force" or len(value) != len(num_atoms))
        parts = value.split(num_atoms) if per_atom else value
        for line, part in zip(lines, parts, strict=True):
            line[key] = json_value(part, single=not per_atom)
    return lines


def _regression(
    key: str, predicted: np.ndarray, target: np.ndarray, num_atoms: np.ndarray, known: Mapping[str, Any]
) -> Regression:
    """Compare the known labels of a target with its predictions."""
    labeled = ~np.isnan(target)
    incomplete = ~labeled.reshape(len(target), -1).all(axis=1)
    if len(target) != len(num_atoms):
        incomplete = np.bincount(np.repeat(np.arange(len(num_atoms)), num_atoms)[incomplete])
    missing = int(np.count_nonzero(incomplete))
    mean = np.asarray(known.get("bin_mean", np.mean(known.get("mean", 0.0))), dtype=np.float64)
    unit = UNITS.get(key, "")
    if key == "energy":
        key, unit = "energy_per_atom", UNITS["energy_per_atom"]
        per_atom = num_atoms.reshape(-1, *[1] * (target.ndim - 1))
        predicted, target = predicted.reshape(target.shape) / per_atom, target / per_atom
        mean = np.asarray(known.get("per_atom_mean", 0.0))
    elif key == "force" or known.get("kind") == "vector":
        mean = np.zeros(())
    predicted = predicted.reshape(target.shape)
    baseline = float(mean) if mean.ndim == 0 else np.broadcast_to(mean, target.shape)[labeled]
    return Regression(
        key, unit or known.get("unit") or "", predicted[labeled], target[labeled], baseline, missing
    )


def _classification(
    key: str, logits: np.ndarray, target: np.ndarray, first: int, known: Mapping[str, Any]
) -> Classification:
    """Convert logits [n, 1] or [n, classes] and class indices to labels, which begin at ``first``."""
    target = target.reshape(-1).astype(np.int64)
    scores = logits.reshape(len(target), -1)
    predicted = (scores[:, 0] > 0).astype(np.int64) if scores.shape[1] == 1 else scores.argmax(axis=1)
    counts, classes = known.get("class_counts") or [1], known.get("classes") or [first]
    labeled = target != MISSING_CLASS
    return Classification(
        key,
        predicted[labeled].astype(np.int64) + first,
        target[labeled] + first,
        int(classes[int(np.argmax(counts))]),
        dict(enumerate(map(str, known.get("class_names") or []))),
        int(np.count_nonzero(~labeled)),
    )


def _array(value: torch.Tensor) -> np.ndarray:
    return value.detach().cpu().to(torch.float64).numpy()


def _to_cpu(value: object) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: _to_cpu(part) for key, part in value.items()}
    return value
