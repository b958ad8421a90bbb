"""orb-models: the adapter of its force fields, which also creates batches."""

from __future__ import annotations

from functools import partial

from orb_models.forcefield.forcefield_adapter import ForcefieldAtomsAdapter

from contenders.face import CUTOFF, Method, to_ase

PACKAGES = ("orb-models", "torch", "nvalchemi-toolkit-ops", "scipy", "ase")


def methods() -> dict[str, Method]:
    """Return the default search, and the search documented as slightly faster for one structure on a CPU."""
    result = {}
    for search, most in (
        ("knn_alchemi", -1),
        ("knn_scipy", 300),
    ):  # -1 keeps all neighbors; the scipy search needs a number
        adapter = ForcefieldAtomsAdapter(radius=CUTOFF, max_num_neighbors=most)
        result[f"from_ase_atoms, {search}"] = Method(
            to_ase,
            partial(adapter.from_ase_atoms, edge_method=search, device="cpu"),
            lambda graph: len(graph.senders),
            partial(adapter.from_ase_atoms_list, edge_method=search, device="cpu"),
            "ends, images, vectors",
        )
    return result
