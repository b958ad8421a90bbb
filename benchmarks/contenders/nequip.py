"""nequip: `from_ase` and its neighbor list transform, batched by the collate function of its data loader."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import NeighborListTransform

from contenders.face import CUTOFF, Method, to_ase

PACKAGES = ("nequip", "torch", "matscipy", "vesin", "ase")


def methods() -> dict[str, Method]:
    """Return the default backend, matscipy, and vesin, the default if it is installed."""
    torch.set_default_dtype(torch.float64)  # as in nequip's trainer
    result = {}
    for backend in ("matscipy", "vesin"):

        def convert(atoms: Any, transform: Any) -> Any:
            return transform(from_ase(atoms))

        def collate(items: list[Any], transform: Any) -> Any:
            return AtomicDataDict.batched_from_list([convert(item, transform) for item in items])

        transform = NeighborListTransform(r_max=CUTOFF, backend=backend)
        result[f"from_ase, {backend}"] = Method(
            to_ase,
            partial(convert, transform=transform),
            lambda data: int(data["edge_index"].shape[1]),
            partial(collate, transform=transform),
            "ends, images",
        )
    return result
