"""Keep the precision of labels, batches and predictions independent of the trainer's precision.

Energies of all-electron codes are of the order of 1e5 eV per atom, errors of the order of 1e-3 eV. Single
precision cannot represent both. Labels therefore stay in float64 until a reference energy or a mean is
subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import pytorch_lightning as pl
import torch
from mml_samples import Batch, DGLView, graph_of
from torch import Tensor, nn

from mml_tasks.batches import private_copy
from mml_tasks.protocols import ExtendedBatch


def supports_float64(device: torch.device) -> bool:
    """Return whether a device supports float64. Apple's GPUs and some Intel GPUs do not."""
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type != "mps"


def widened(values: Tensor) -> Tensor:
    """Return floating-point values in float64, on the CPU if their device does not support it."""
    if not supports_float64(values.device):
        values = values.cpu()
    return values.to(torch.float64)


class HostLabels:
    """Labels by name that stay on the host when their batch is moved to a device.

    Moving a batch only visits mappings, and this class is not a mapping.
    """

    def __init__(self, labels: Mapping[str, Tensor]) -> None:
        self._labels = labels

    def __getitem__(self, key: str) -> Tensor:
        return self._labels[key]

    def __contains__(self, key: object) -> bool:
        return key in self._labels

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)


def with_host_labels(batch: Batch, name: str, normalized: Mapping[str, Tensor] | None) -> Batch:
    """Return a batch whose labels stay on the host.

    Parameters
    ----------
    batch
        The batch on the host.
    name
        Name of the task, which distinguishes tasks that share a batch.
    normalized
        Targets of the task in the units of its loss, which are moved to the device; None in prediction.
    """
    found = cast("ExtendedBatch", {**batch})
    labels: object = found["targets"]
    found["targets"] = labels if isinstance(labels, HostLabels) else HostLabels(found["targets"])  # type: ignore[typeddict-item]
    found["normalized_targets"] = dict(found.get("normalized_targets", {}))
    if normalized is not None:
        found["normalized_targets"][name] = dict(normalized)
    return found


def normalized_on_host(batch: Batch, name: str) -> dict[str, Tensor] | None:
    """Return the targets that `with_host_labels` stored for a task, or None."""
    return cast("ExtendedBatch", batch).get("normalized_targets", {}).get(name)


def keep_labels(trainer: pl.Trainer) -> None:
    """Exempt ``targets`` from the conversion that a trainer's precision plugin applies to every batch.

    ``bf16-mixed`` and ``16-mixed`` convert a batch to float32, and ``bf16-true`` converts it to bfloat16,
    before the module's hooks receive it. `give_back_labels` undoes this.
    """
    plugin: Any = trainer.precision_plugin
    if "convert_input" not in vars(plugin):
        plugin.convert_input = partial(_convert_all_but_targets, plugin.convert_input)


def give_back_labels(trainer: pl.Trainer) -> None:
    """Undo `keep_labels`."""
    vars(trainer.precision_plugin).pop("convert_input", None)


def _convert_all_but_targets(convert: Callable[[object], object], batch: object) -> object:
    converted = convert(batch)
    if not isinstance(batch, Mapping) or not isinstance(converted, Mapping):
        return converted
    if "targets" in batch:
        return {**converted, "targets": batch["targets"]}
    parts = {name: part for name, part in batch.items() if isinstance(part, Mapping) and "targets" in part}
    return {**converted, **{k: {**converted[k], "targets": part["targets"]} for k, part in parts.items()}}


def matched_to(module: nn.Module, batch: Batch) -> Batch:
    """Return a batch whose graph is in float64 if the module's parameters are, else the unchanged batch.

    Lightning's ``64-true`` converts the tensors of a batch, but not those inside graphs.
    """
    parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
    if parameter is None or parameter.dtype != torch.float64 or "graph" not in batch:
        return batch
    graph = graph_of(batch)
    if isinstance(graph, DGLView):
        frames = (graph.graph.ndata, graph.graph.edata)
        if all(not v.is_floating_point() or v.dtype == torch.float64 for f in frames for v in f.values()):
            return batch
        copied = private_copy(batch)
        for frame in (copied["graph"].ndata, copied["graph"].edata):
            frame.update({name: _double(value) for name, value in frame.items()})
        return copied
    values = dict(graph.to_dict() if hasattr(graph, "to_dict") else vars(graph))
    narrow = {name: _double(value) for name, value in values.items() if _double(value) is not value}
    if not narrow:
        return batch
    copied = private_copy(batch)
    for name, value in narrow.items():
        setattr(copied["graph"], name, value)
    return copied


def _double(value: object) -> object:
    return value.to(torch.float64) if isinstance(value, Tensor) and value.is_floating_point() else value


def prepare_precision(module: pl.LightningModule) -> None:
    """Prepare a module for the trainer's precision, and raise an error for one in which training fails.

    Under ``64-true``, Lightning converts a module only after it has loaded a checkpoint, which would round
    the weights of a resumed run.

    Raises
    ------
    ValueError
        If weights would be trained in float16. AdamW's epsilon of 1e-8 is zero in float16, and gradients
        overflow without a scaler, so that weights become NaN.
    """
    precision = str(module.trainer.precision)
    if precision == "64-true":
        module.double()
    if precision == "16-true" and module.trainer.state.fn == "fit":
        raise ValueError(
            "precision='16-true' trains weights in float16, where they become NaN, because gradients "
            "overflow and AdamW's epsilon is zero. Use precision='16-mixed', 'bf16-mixed' or 'bf16-true'"
        )
