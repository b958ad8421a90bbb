"""Collate samples into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import cast

import numpy as np
import torch
from mml_samples import Array, Batch, Sample, sample_name

from mml_graphs._labels import exact
from mml_graphs.batches.padding import pad_key
from mml_graphs.libraries import graph_libraries

INDEX_KEYS = ("src_nodes", "dst_nodes")
# Shapes of the keys that have one value per structure. These values are stacked.
STRUCTURE_SHAPES = {"cell": (3, 3), "pbc": (3,), "lattice_params": (6,), "lattice_features": (6,)}


def collate_samples(
    samples: Sequence[Sample], pad_keys: Sequence[str] = (), unpacked_keys: Sequence[str] = ()
) -> Batch:
    """Collate samples into a batch with the same keys, and add ``natoms`` [B].

    - Graphs are batched by their own library.
    - Numbers become tensors [B, 1].
    - Arrays are concatenated along their first dimension. ``src_nodes`` and ``dst_nodes`` are shifted to the
      atom indices of the batch.
    - ``cell``, ``pbc``, ``lattice_params`` and ``lattice_features`` are stacked (``pbc`` [3] to [B, 3],
      ``cell`` [3, 3] or [1, 3, 3] to [B, 3, 3]).
    - Nested dicts are collated key by key.
    - ``extra``, strings and objects of unknown type become lists of length B.
    - ``target_types`` must be the same in all samples and is kept once.

    Floats under ``targets`` become float64, independent of torch's default dtype, so that labels keep their
    precision until a reference energy or a mean is subtracted. All other arrays keep their dtype.

    Parameters
    ----------
    samples
        B samples with the same keys. They are not changed.
    pad_keys
        Keys whose arrays [N, ...] are padded with zeros to the longest and stacked to [B, N_max, ...] instead
        of being concatenated. Arrays with three or more dimensions are padded along all dimensions but the
        last: [N, M, D] to [B, N_max, M_max, D]. For each key, ``KEY_mask`` is ``True`` for values and
        ``False`` for padding, and has the shape of the padded dimensions ([B, N_max] or [B, N_max, M_max]).
        ``mask`` is the mask of the first of these keys.
    unpacked_keys
        Keys whose values of any type are kept as a list of length B.

    Returns
    -------
    dict
        The batch.

    Raises
    ------
    ValueError
        If there are no samples, the samples do not have the same keys, the values under a key do not match,
        or a key of ``pad_keys`` or ``unpacked_keys`` is not in the samples. The message names the key and the
        sample.
    """
    rows: list[Mapping[str, Array]] = list(samples)
    if not rows:
        raise ValueError("samples must contain at least one sample, got none")
    names = [sample_name(sample, index) for index, sample in enumerate(rows)]
    counts = [_count_atoms(sample) for sample in rows]
    for sample, name, count in zip(rows, names, counts, strict=True):
        if count is not None and int(sample.get("natoms", count)) != count:
            raise ValueError(
                f"'natoms' of {name} is {int(sample['natoms'])}, but the sample has {count} atoms"
            )
    _check_same_keys(rows, names, "")
    special = _check_special_keys(rows[0], pad_keys, unpacked_keys)
    packed = rows if not special else [_without(sample, special) for sample in rows]
    batch = collate_keys(packed, names, counts)
    if None not in counts and "natoms" not in special:
        batch["natoms"] = torch.tensor(counts)
    batch |= {key: [sample[key] for sample in rows] for key in unpacked_keys}
    for key in pad_keys:
        batch |= pad_key(key, [sample[key] for sample in rows], names)
    if pad_keys:
        batch["mask"] = batch[f"{pad_keys[0]}_mask"]
    return cast("Batch", batch)


def concatenate_keys(
    batch: Sequence[Sample], pad_keys: Sequence[str] = (), unpacked_keys: Sequence[str] = ()
) -> Batch:
    """Collate samples. This is the older name of `collate_samples`."""
    return collate_samples(batch, pad_keys, unpacked_keys)


def _check_special_keys(
    sample: Mapping[str, Array], pad_keys: Sequence[str], unpacked_keys: Sequence[str]
) -> set[str]:
    for argument, keys in (("pad_keys", pad_keys), ("unpacked_keys", unpacked_keys)):
        if isinstance(keys, str):
            raise ValueError(f"{argument} must be a list of keys, got the string {keys!r}. Pass [{keys!r}].")
        for key in keys:
            if key not in sample:
                raise ValueError(
                    f"{argument} contains {key!r}, which is not among the keys of the samples: "
                    f"{sorted(map(str, sample))}"
                )
    special = {*pad_keys, *unpacked_keys}
    if len(special) < len(pad_keys) + len(unpacked_keys):
        raise ValueError(
            f"pad_keys {list(pad_keys)} and unpacked_keys {list(unpacked_keys)} must not contain a key twice"
        )
    for mask in [f"{key}_mask" for key in pad_keys] + ["mask"] * bool(pad_keys):
        if mask in sample:
            raise ValueError(
                f"the samples already have {mask!r}, which is the key of a mask of pad_keys. Rename it."
            )
    return special


def _without(sample: Mapping[str, Array], keys: set[str]) -> dict[str, Array]:
    return {key: value for key, value in sample.items() if key not in keys}


def collate_keys(
    samples: Sequence[Mapping[str, Array]], names: list[str], counts: Sequence[int | None], within: str = ""
) -> dict[str, Array]:
    """Collate the values of named samples, key by key. ``counts`` are their numbers of atoms, if known."""
    _check_same_keys(samples, names, within)
    return {
        key: _merge(key, [sample[key] for sample in samples], names, counts, within) for key in samples[0]
    }


def _check_same_keys(samples: Sequence[Mapping[str, Array]], names: list[str], within: str) -> None:
    for sample, name in zip(samples, names, strict=True):
        if sample.keys() != samples[0].keys():
            missing = next((key for key in samples[0] if key not in sample), None)
            has, lacks = (names[0], name) if missing is not None else (name, names[0])
            key = missing if missing is not None else next(key for key in sample if key not in samples[0])
            raise ValueError(
                f"{has} has the key {within + str(key)!r}, but {lacks} does not. "
                "Add it to all samples, or remove it."
            )


def _merge(
    key: str, values: list[Array], names: list[str], counts: Sequence[int | None], within: str
) -> Array:
    path = within + str(key)
    if path == "target_types":
        for value, name in zip(values, names, strict=True):
            if value != values[0]:
                raise ValueError(
                    f"'target_types' must be the same in all samples, got {values[0]} in {names[0]} "
                    f"and {value} in {name}"
                )
        return values[0]
    kinds = [_kind(value) for value in values]
    for kind, name in zip(kinds, names, strict=True):
        if kind != kinds[0]:
            raise ValueError(
                f"{path!r} must have the same type in all samples, got {kinds[0]} in {names[0]} "
                f"and {kind} in {name}"
            )
    if kinds[0].endswith(" graph"):
        try:
            return graph_libraries.batch(values, names)
        except ValueError as error:
            raise ValueError(f"{path!r}: {error}") from error
    if kinds[0] == "dict" and path != "extra":
        return collate_keys(values, names, counts, path + ".")
    is_target = path.startswith("targets.")
    if kinds[0] == "number":
        return _numbers([exact(value) for value in values] if is_target else values)
    if kinds[0] == "array":
        tensors = [torch.as_tensor(value) for value in values]
        return _arrays(path, [exact(each) for each in tensors] if is_target else tensors, names, counts)
    return values


def _kind(value: Array) -> str:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":
            return "object"
        return "array" if value.ndim else "number"
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        return "number"
    if isinstance(value, Mapping):
        return "dict"
    library = graph_libraries.library_of(value)
    return "object" if library is None else f"{library} graph"


def _numbers(values: list[Array]) -> torch.Tensor:
    if any(isinstance(value, torch.Tensor) for value in values):
        tensors = [torch.as_tensor(value) for value in values]
        dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
        return torch.stack([tensor.to(dtype) for tensor in tensors]).reshape(-1, 1)
    return torch.tensor([value.item() if hasattr(value, "item") else value for value in values]).reshape(
        -1, 1
    )


def _arrays(
    path: str, tensors: list[torch.Tensor], names: list[str], counts: Sequence[int | None]
) -> torch.Tensor:
    if path in STRUCTURE_SHAPES:
        return _stacked(path, tensors, names)
    for tensor, name, count in zip(tensors, names, counts, strict=True):
        if tensor.shape[1:] != tensors[0].shape[1:]:
            raise ValueError(
                f"{path!r} has shape {list(tensors[0].shape)} in {names[0]} "
                f"and {list(tensor.shape)} in {name}; all dimensions but the first must be equal"
            )
        if path.startswith("targets.") and count is not None and len(tensor) not in (1, count):
            raise ValueError(
                f"{path!r} has shape {list(tensor.shape)} in {name} with {count} atoms; "
                "the first dimension of a target must be 1 (per structure) or the number of atoms"
            )
    if path in INDEX_KEYS:
        tensors = _shifted(path, tensors, names, counts)
    return torch.cat(tensors)


def _stacked(path: str, tensors: list[torch.Tensor], names: list[str]) -> torch.Tensor:
    shape = STRUCTURE_SHAPES[path]
    for tensor, name in zip(tensors, names, strict=True):
        if tensor.shape not in (shape, (1, *shape)):
            raise ValueError(f"{path!r} has shape {list(tensor.shape)} in {name}, expected {list(shape)}")
    return torch.stack([tensor.reshape(shape) for tensor in tensors])


def _shifted(
    path: str, tensors: list[torch.Tensor], names: list[str], counts: Sequence[int | None]
) -> list[torch.Tensor]:
    shifted, start = [], 0
    for tensor, name, count in zip(tensors, names, counts, strict=True):
        if count is None:
            raise ValueError(
                f"{name} has {path!r}, but neither 'atomic_numbers' nor 'pos', from which its atoms "
                "are counted"
            )
        shifted.append(tensor + start)
        start += count
    return shifted


def _count_atoms(sample: Mapping[str, Array]) -> int | None:
    for key in ("atomic_numbers", "pos", "frac_coords"):
        if key in sample:
            return len(sample[key])
    num_nodes = graph_libraries.count_nodes(sample.get("graph"))
    if num_nodes is not None or sample.get("structure") is None:
        return num_nodes
    return len(sample["structure"])
