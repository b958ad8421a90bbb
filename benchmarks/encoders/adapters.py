"""The adapters of mml-models with a linear head, and the bare models that they wrap."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from encoders.face import CUTOFF, Batch, Contender

if find_spec("mml_models") is None:  # in the environments of the other libraries
    sys.path.append(str(Path(__file__).resolve().parents[2] / "packages" / "mml-models" / "src"))

PACKAGES = ("torch",)
DIMENET = {"hidden_dim": 64, "output_dim": 64, "num_conv": 2, "int_emb_size": 32, "num_spherical": 4}


def _options(name: str, batch: Batch) -> dict[str, Any]:
    """Return the options of an adapter."""
    elements = {"elements": batch.numbers.unique().tolist(), "cutoff": CUTOFF}
    return {
        "DimeNetPlusPlus": {**DIMENET, "cutoff": CUTOFF},
        "ViSNet": {"hidden_dim": 64, "num_conv": 2, "num_heads": 8, "cutoff": CUTOFF},
        "MACE": {"hidden_irreps": "16x0e + 16x1o", "correlation": 2, "max_ell": 2, **elements},
        "M3GNet": elements,
        "CHGNet": elements,
        "QET": elements,
        "NequIP": {"num_conv": 2, **elements},
        "Allegro": {"num_conv": 1, **elements},
    }[name]


def _per_structure(nodes: Tensor, batch: Batch) -> Tensor:
    return nodes.new_zeros(int(batch.structure.max()) + 1).index_add(0, batch.structure, nodes)


def _adapter(name: str, batch: Batch) -> Contender:
    import mml_models

    encoder = getattr(mml_models, name)(**_options(name, batch))
    head = nn.Linear(encoder.output_dim, 1)

    def energies(positions: Tensor) -> Tensor:
        graph = SimpleNamespace(
            atomic_numbers=batch.numbers,
            pos=positions,
            edge_index=batch.edges,
            offsets=batch.offsets,
            batch=batch.structure,
        )
        return _per_structure(head(encoder({"graph": graph}).point_embedding).squeeze(-1), batch)

    return Contender(nn.ModuleList((encoder, head)), energies)


def _dimenet(batch: Batch) -> Contender:
    """PyG's model with its forward method written out to take edges, which finds chains of edges once."""
    from mml_models.adapters.triplets import find_triplets
    from mml_models.layers.edges import Edges
    from torch_geometric.nn.models import DimeNetPlusPlus

    options = {
        name: value for name, value in DIMENET.items() if name not in ("hidden_dim", "output_dim", "num_conv")
    }
    model = DimeNetPlusPlus(
        64, 1, 2, basis_emb_size=8, out_emb_channels=256, num_radial=6, cutoff=CUTOFF, **options
    )
    center, neighbor = batch.edges
    vectors = batch.positions[neighbor] + batch.offsets - batch.positions[center]
    second, first = find_triplets(Edges(center, neighbor, vectors, vectors.norm(dim=1)))

    def energies(positions: Tensor) -> Tensor:
        vectors = positions[neighbor] + batch.offsets - positions[center]
        distances = vectors.norm(dim=1)
        along, after = vectors[second], vectors[first]
        angles = torch.atan2(torch.linalg.cross(along, after).norm(dim=1), (along * after).sum(dim=1))
        radial, spherical = model.rbf(distances), model.sbf(distances, angles, first)
        messages = model.emb(batch.numbers, radial, center, neighbor)
        nodes = model.output_blocks[0](messages, radial, center, len(positions))
        for interaction, output in zip(model.interaction_blocks, model.output_blocks[1:], strict=True):
            messages = interaction(messages, radial, spherical, first, second)
            nodes = nodes + output(messages, radial, center, len(positions))
        return _per_structure(nodes.squeeze(-1), batch)

    return Contender(model, energies)


def _visnet(batch: Batch) -> Contender:
    """PyG's model with the edges of the batch instead of its radius graph."""
    from torch_geometric.nn.models import ViSNet

    model = ViSNet(hidden_channels=64, num_layers=2, cutoff=CUTOFF)
    center, neighbor = batch.edges
    atoms = torch.arange(len(batch.numbers))
    index = torch.cat((batch.edges.flip(0), atoms.expand(2, -1)), dim=1)

    def distances(positions: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        vectors = positions[neighbor] + batch.offsets - positions[center]
        zero = positions.new_zeros(len(atoms), 3)
        lengths = torch.cat((vectors.norm(dim=1), zero[:, 0]))
        return index, lengths, torch.cat((vectors, zero))

    model.representation_model.distance.forward = distances
    return Contender(model, lambda pos: model(batch.numbers, pos, batch.structure)[0].squeeze(-1))


def _mace(batch: Batch) -> Contender:
    adapted = _adapter("MACE", batch).module[0]  # type: ignore[index]
    model, count = adapted.model.requires_grad_(True), int(batch.structure.max()) + 1
    one_hot = nn.functional.one_hot(adapted.elements(batch.numbers)).float()
    ptr = torch.cat((torch.zeros(1, dtype=torch.int64), torch.bincount(batch.structure).cumsum(0)))

    def energies(positions: Tensor) -> Tensor:
        data = {
            "positions": positions,
            "shifts": -batch.offsets,
            "edge_index": batch.edges.flip(0),
            "node_attrs": one_hot,
            "cell": positions.new_zeros(3 * count, 3),
            "batch": batch.structure,
            "ptr": ptr,
        }
        result: Tensor = model(data, compute_force=False)["energy"]
        return result

    return Contender(model, energies)


def _matgl(name: str, batch: Batch) -> Contender:
    adapted = _adapter(name, batch).module[0]  # type: ignore[index]
    model = adapted.model.requires_grad_(True)
    kinds = adapted.elements(batch.numbers)

    def energies(positions: Tensor) -> Tensor:
        graph = SimpleNamespace(
            pos=positions,
            edge_index=batch.edges,
            pbc_offshift=batch.offsets,
            pbc_offset=batch.offsets,
            node_type=kinds,
            batch=batch.structure,
            num_graphs=int(batch.structure.max()) + 1,
        )
        result: Tensor = model(graph)
        return result

    return Contender(model, energies)


def _nequip(name: str, batch: Batch) -> Contender:
    adapted = _adapter(name, batch).module[0]  # type: ignore[index]
    model, kinds = adapted.model.requires_grad_(True), adapted.elements(batch.numbers)
    center, neighbor = batch.edges

    def energies(positions: Tensor) -> Tensor:
        data = {
            "pos": positions,
            "edge_vectors": positions[neighbor] + batch.offsets - positions[center],
            "edge_index": batch.edges,
            "atom_types": kinds,
            "batch": batch.structure,
            "num_atoms": torch.bincount(batch.structure),
        }
        result: Tensor = model(data)["total_energy"].squeeze(-1)
        return result

    return Contender(model, energies)


BARE: dict[str, Callable[[Batch], Contender]] = {
    "DimeNetPlusPlus": _dimenet,
    "ViSNet": _visnet,
    "MACE": _mace,
    "M3GNet": partial(_matgl, "M3GNet"),
    "CHGNet": partial(_matgl, "CHGNet"),
    "QET": partial(_matgl, "QET"),
    "NequIP": partial(_nequip, "NequIP"),
    "Allegro": partial(_nequip, "Allegro"),
}
CONTENDERS = {name: partial(_adapter, name) for name in BARE} | {
    f"bare-{name}": bare for name, bare in BARE.items()
}
