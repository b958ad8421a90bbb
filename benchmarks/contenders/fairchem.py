"""fairchem-core: `AtomicData.from_ase` with its two searches, and graphs generated from a batch."""

from __future__ import annotations

from functools import partial
from typing import Any

from fairchem.core.datasets.atomic_data import AtomicData, atomicdata_list_to_batch
from fairchem.core.graph.compute import generate_graph

from contenders.face import CUTOFF, Method, to_ase

PACKAGES = ("fairchem-core", "torch", "pymatgen-core", "nvalchemi-toolkit-ops", "ase")
ALL = 10_000  # the library requires a maximum number of neighbors per atom


def convert(atoms: Any, search: str) -> Any:
    """Convert with edges."""
    return AtomicData.from_ase(
        atoms, r_edges=True, radius=CUTOFF, max_neigh=ALL, external_graph_method=search
    )


def collate(items: list[Any], search: str) -> Any:
    """Convert with edges, then batch."""
    return atomicdata_list_to_batch([convert(item, search) for item in items])


def on_the_fly(items: list[Any]) -> Any:
    """Batch without edges, then find the edges of the whole batch, as the models do by default."""
    batch = atomicdata_list_to_batch([AtomicData.from_ase(item, radius=CUTOFF) for item in items])
    for key, value in generate_graph(batch, CUTOFF, ALL, False, 2, batch.pbc).items():
        setattr(batch, key, value)
    return batch


def methods() -> dict[str, Method]:
    """Return the three methods."""

    def count(data: Any) -> int:
        return int(data.edge_index.shape[1])

    result = {
        f"from_ase, {search}": Method(
            to_ase, partial(convert, search=search), count, partial(collate, search=search), "ends, images"
        )
        for search in ("pymatgen", "nvidia")
    }
    result["from_ase, then generate_graph"] = Method(
        to_ase,
        lambda atoms: on_the_fly([atoms]),
        count,
        on_the_fly,
        "ends, images, offsets, vectors, distances",
    )
    return result
