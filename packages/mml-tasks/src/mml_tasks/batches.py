"""Read the graph, the targets and the assignment of atoms to structures from a batch."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import cast

import torch
from mml_samples import Batch, DGLView, Graph, Sample, atom_counts, graph_of, sample_name, structure_index
from torch import Tensor


def as_batch(sample: Sample | Batch) -> Batch:
    """Return a single sample as a batch of one, as collating would build it; a batch is returned unchanged.

    Encoders were trained on batches and may read the structure index of an atom from the graph.
    """
    graph, name = graph_of(sample), sample.get("sample_id")
    single = getattr(graph, "batch", None) is None
    if not single and not isinstance(name, str):
        return cast("Batch", sample)
    batch = private_copy(cast("Batch", sample))
    if single:
        batch["graph"].batch = structure_index(graph)
        batch["graph"].natoms = atom_counts(graph)
    if isinstance(name, str):
        batch["sample_id"] = [name]
    return batch


def sum_by_structure(values: Tensor, graph: Graph) -> Tensor:
    """Sum a quantity of the atoms, [N, D], over each structure, and return the sums, [B, D]."""
    sums = values.new_zeros(atom_counts(graph).shape[0], *values.shape[1:])
    return sums.index_add(0, structure_index(graph), values)


def private_copy(batch: Batch) -> Batch:
    """Copy a batch and its graph, but not their tensors, so that changes do not affect the caller's batch.

    Tensors that were created in inference mode cannot take part in autograd and are therefore cloned.
    """
    copied = cast("Batch", {key: _normal(value) for key, value in batch.items()})
    graph = graph_of(batch)
    if isinstance(graph, DGLView):
        copied["graph"] = graph = graph.graph.local_var()
        for frame in (graph.ndata, graph.edata):
            frame.update({name: _normal(value) for name, value in frame.items()})
        return copied
    copied["graph"] = graph = copy.copy(graph)
    for name, value in (graph.to_dict() if hasattr(graph, "to_dict") else dict(vars(graph))).items():
        if isinstance(value, Tensor) and value.is_inference():
            setattr(graph, name, value.clone())
    return copied


def _normal(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def find_target(batch: Batch, key: str) -> Tensor:
    """Return a target of the batch.

    Raises
    ------
    ValueError
        If the batch does not have this target. The message lists the available targets.
    """
    targets = batch.get("targets", {})
    if key not in targets:
        raise missing_target(key, targets, samples_of(batch))
    return targets[key]


def missing_target(key: str, known: Collection[str], where: str) -> ValueError:
    """Return the error for a target that the data lack."""
    return ValueError(
        f"target {key!r} is not in {where}, whose targets are {sorted(known)}. Choose task_keys from these "
        "targets, or use data with this target"
    )


def align_target(key: str, target: Tensor, output: Tensor) -> Tensor:
    """Return ``target`` as floating-point numbers in the shape of ``output``; [B] is reshaped to [B, 1].

    Raises
    ------
    ValueError
        If the shapes do not match otherwise.
    """
    if target.shape != output.shape:
        if target.shape != output.shape[:1] or output.numel() != target.numel():
            raise ValueError(
                f"target {key!r} has shape {list(target.shape)} in this batch, but the task predicts shape "
                f"{list(output.shape)}"
            )
        target = target.view(output.shape)
    return target if target.is_floating_point() else target.to(torch.float64)


def check_not_infinite(key: str, target: Tensor, batch: Batch) -> None:
    """Raise an error that names the sample if a target has infinite values; NaN is a missing label.

    Raises
    ------
    ValueError
        If a value is infinite.
    """
    bad = torch.isinf(target)
    if bad.any():
        row = int(bad.reshape(bad.shape[0], -1).any(dim=1).nonzero()[0])
        raise ValueError(
            f"target {key!r} is {target[row].reshape(-1)[bad[row].reshape(-1)][0].item()} in "
            f"{sample_of_row(target, row, batch)}. Correct the label, or set it to NaN if it is missing"
        )


def sample_of_row(target: Tensor, row: int, batch: Batch) -> str:
    """Return a description of the sample that contains a row (a structure or an atom) of a target."""
    graph = graph_of(batch)
    structures = atom_counts(graph).shape[0]
    if target.shape[0] != structures and row < structure_index(graph).shape[0]:
        row = int(structure_index(graph)[row])
    return sample_name(batch, row)


def samples_of(batch: Batch) -> str:
    """Return a description of a batch for error messages, with the name of its first sample."""
    return f"the batch of {sample_name(batch, 0)}" if batch.get("sample_id") else "the batch"
