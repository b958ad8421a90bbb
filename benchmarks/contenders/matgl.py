"""matgl's converters, batched by its own collate function (PyG's `Batch`)."""

from __future__ import annotations

from typing import Any

import torch
from matgl.config import DEFAULT_ELEMENTS
from matgl.ext.ase import Atoms2Graph
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import collate_fn_graph

from contenders.face import CUTOFF, Method, to_ase, to_pymatgen

PACKAGES = ("matgl", "torch", "torch-geometric", "pymatgen-core")


def methods() -> dict[str, Method]:
    """Return the two converters for the elements of the universal models and a few more."""
    result = {}
    # DEFAULT_ELEMENTS does not include these. The converter takes any tuple of symbols.
    elements = (*DEFAULT_ELEMENTS, "Po", "At", "Rn", "Fr", "Ra")
    for converter, prepare in (
        (Structure2Graph(elements, CUTOFF), to_pymatgen),
        (Atoms2Graph(elements, CUTOFF), to_ase),
    ):

        def collate(items: list[Any], converter: Any = converter) -> Any:
            labels = {"energy": 0.0}
            graphs = [converter.get_graph(item) for item in items]
            return collate_fn_graph(
                [(graph, cell, torch.as_tensor(state), labels) for graph, cell, state in graphs]
            )

        result[type(converter).__name__] = Method(
            prepare,
            converter.get_graph,
            lambda made: int(made[0].edge_index.shape[1]),
            collate,
            "ends (int32), images",
        )
    return result
