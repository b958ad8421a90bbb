"""Find NaN and Inf in gradients, and in the batches that cause them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mml_diagnostics.batch_view import look_up, name_sample, sample_ids_of

EDGE_KEYS = ("offsets", "images", "unit_offsets", "distances", "edge_attr", "edge_weight")
OPTIONAL_KEYS = ("charge", "spin", "magmom")


@dataclass(frozen=True)
class BadInput:
    """A sample with a non-finite value: the name of the sample, and the batch keys of the value.

    If the sample of a value is unknown, ``sample`` names the row and its key, and ``keys`` is empty.
    """

    sample: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.keys)} of {self.sample}" if self.keys else self.sample


def gradient_values(parameter: nn.Parameter) -> Tensor:
    """Return the dense values of ``parameter.grad``; a sparse gradient is coalesced in place first."""
    gradient = parameter.grad
    if gradient is None:
        raise ValueError("the parameter must have a gradient")
    if gradient.is_sparse:
        parameter.grad = gradient = gradient.coalesce()
        return gradient.values()
    return gradient


def gradient_norms(gradients: list[Tensor], scale: Tensor | None = None) -> list[float]:
    """Return the 2-norm of each gradient, with one transfer from the device for all of them.

    Parameters
    ----------
    gradients
        Dense tensors of any shape, on one or several devices.
    scale
        Factor by which the gradients are multiplied (0-d), if a gradient scaler has not unscaled them yet.

    Returns
    -------
    list of float
        One norm per gradient. The norm is not finite if the gradient is not finite or its square overflows.
    """
    if not gradients:
        return []
    device = gradients[0].device
    each = list(torch._foreach_norm(gradients))
    if any(n.dtype != torch.float32 or n.device != device for n in each):  # a conversion call for each norm
        each = [norm.to(device, torch.float32) for norm in each]  # costs as much as the norms
    norms = torch.stack(each)
    return (norms if scale is None else norms / scale).tolist()


def count_non_finite(gradients: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return the number of NaN elements and the number of Inf elements of each gradient."""
    counts = [torch.stack((g.isnan().sum(), g.isinf().sum())).cpu() for g in gradients]
    return [(int(nan), int(inf)) for nan, inf in counts]


def zero_non_finite(gradient: Tensor) -> None:
    """Set the NaN and Inf elements of ``gradient`` to zero, in place."""
    torch.nan_to_num_(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def masks_labels(module: object) -> bool:
    """Return whether a module masks labels that are NaN, which its attribute ``missing_labels`` shows.

    Then NaN is also valid in the optional keys of a structure: ``charge``, ``spin`` and ``magmom``.
    """
    return hasattr(module, "missing_labels")


def is_optional(key: str) -> bool:
    """Return whether NaN under a key means a missing value, if the module masks labels."""
    parts = key.split(".")
    return "targets" in parts[:-1] or parts[-1] in OPTIONAL_KEYS


def bad_inputs(batch: object, masked: bool = False) -> list[BadInput]:
    """Find the samples whose targets, positions or other inputs are not finite.

    The leading dimension of a tensor shows whether its rows belong to structures or to atoms. Tensors with
    one row per edge are recognized by name.

    Parameters
    ----------
    batch
        A mapping, sequence or graph, with any nesting.
    masked
        Whether NaN is valid in targets and optional keys, see `masks_labels`.

    Returns
    -------
    list of BadInput
        One entry per sample, in the order of the batch; empty if all values are finite.
    """
    ids = sample_ids_of(batch)
    owners = owners_of_rows(batch, None if ids is None else len(ids))
    found: dict[tuple[int, str], list[str]] = {}
    for key, value in named_floats(batch):
        rows = bad_rows(torch.where(value.isnan(), 0, value) if masked and is_optional(key) else value)
        rows_are = "edges" if key.rpartition(".")[2] in EDGE_KEYS else "structures or atoms"
        owner = owners[rows_are].get(value.shape[0] if value.ndim else -1)
        for row in rows:
            index = row if owner is None else int(owner[row])
            name = name_sample(ids, index) if owner is not None else f"row {row} of {key}"
            keys = found.setdefault((index, name), [])
            if owner is not None and key not in keys:
                keys.append(key)
    return [BadInput(name, tuple(keys)) for (_, name), keys in sorted(found.items())]


def bad_rows(value: Tensor) -> list[int]:
    """Return the indices of the rows of ``value`` with NaN or Inf. The index for a 0-d tensor is 0."""
    bad = ~torch.isfinite(value.detach())
    if value.ndim == 0:
        return [0] if bool(bad) else []
    return bad.reshape(len(bad), -1).any(dim=1).nonzero().flatten().tolist() if bad.numel() else []


def owners_of_rows(batch: object, num_ids: int | None) -> dict[str, dict[int, Tensor]]:
    """Return the structure of each row, by type of row and by number of rows.

    The types are ``"structures or atoms"`` and ``"edges"``. For each type, the result maps a number of rows
    to the structure indices of these rows.
    """
    owners: dict[int, Tensor] = {}
    edge_owners: dict[int, Tensor] = {}
    node_batch, natoms, edges = (
        look_up(batch, "batch"),
        look_up(batch, "natoms"),
        look_up(batch, "edge_index"),
    )
    if not isinstance(node_batch, Tensor) and isinstance(natoms, Tensor):
        node_batch = torch.repeat_interleave(natoms.reshape(-1))
    if isinstance(node_batch, Tensor):
        if isinstance(edges, Tensor) and edges.numel():
            edge_owners[edges.shape[1]] = node_batch[edges[0]]
        owners[len(node_batch)] = node_batch
    structures = natoms.numel() if isinstance(natoms, Tensor) else num_ids
    if structures is not None:
        owners[structures] = torch.arange(structures)
    return {"structures or atoms": owners, "edges": edge_owners}


def named_floats(value: object, key: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield each float tensor in ``value``, with any nesting, together with its path."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield key, value
        return
    if hasattr(value, "to_dict") and not isinstance(value, Mapping):
        value = value.to_dict()
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from named_floats(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from named_floats(part, f"{key}[{index}]" if key else f"batch[{index}]")
