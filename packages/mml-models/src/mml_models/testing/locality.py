"""Checks that an encoder uses the given edges and no others, and keeps structures separate."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from mml_models.testing.crystals import Crystal, crystal_batch
from mml_models.testing.energy import Encoder, embed, position_gradient, require, require_close

_ROUNDING = 1e-13
"""Tolerance of rounding errors. It is tight because an influence through several layers may be weak."""


def check_output(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check the shapes of `system_embedding` [B, D] and `point_embedding` [N, D], with D = `output_dim`."""
    found = embed(encoder, [crystal, crystal], cutoff)
    dim = getattr(encoder, "output_dim", None)
    require(isinstance(dim, int), f"The encoder's output_dim must be an int, got {dim!r}")
    for name, length in (("system_embedding", 2), ("point_embedding", 2 * len(crystal.numbers))):
        shape = [*getattr(found, name).shape]
        require(shape == [length, dim], f"{name} has shape {shape}, expected {[length, dim]}")


def check_given_edges(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that atoms without edges have the embedding of an isolated atom.

    The check removes all edges, and then all edges except one. With one edge, the embedding of its center
    must differ from that of an isolated atom, and all other embeddings must not.
    """
    alone = [
        Crystal(crystal.numbers[i : i + 1], crystal.pos[i : i + 1], None) for i in range(len(crystal.pos))
    ]
    isolated = embed(encoder, alone, cutoff).point_embedding
    batch = crystal_batch([crystal], cutoff)
    graph = batch["graph"]
    whole = encoder(batch).point_embedding
    require(not torch.allclose(whole, isolated), "The embeddings do not depend on the edges")
    center, neighbor = graph.edge_index
    length = (graph.pos[neighbor] + graph.offsets - graph.pos[center]).norm(dim=1)
    # The shortest edge between two atoms, or from the atom to its own image if the crystal has one atom.
    edge = int((length + 1e3 * (center == neighbor)).argmin())
    kept = {name: getattr(graph, name) for name in ("edge_index", "offsets", "images", "distances")}
    for count in (0, 1):
        graph.edge_index = kept["edge_index"][:, edge : edge + count]
        for name in ("offsets", "images", "distances"):
            setattr(graph, name, kept[name][edge : edge + count])
        points = encoder(batch).point_embedding
        unseeing = torch.ones(len(crystal.pos), dtype=torch.bool)
        unseeing[graph.edge_index[0]] = False
        what = f"Given {count} edges, atoms without outgoing edges, and isolated atoms"
        require_close(points[unseeing], isolated[unseeing], what)
    same = torch.allclose(points[~unseeing], isolated[~unseeing], rtol=1e-9, atol=1e-9)
    require(not same, "The embedding of an atom does not depend on its neighbor")


def check_longer_edges(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that edges longer than the cutoff, from a graph with a larger radius, contribute nothing."""
    near, far = (embed(encoder, [crystal], radius) for radius in (cutoff, 1.5 * cutoff))
    require_close(far.point_embedding, near.point_embedding, "Embeddings with and without longer edges")


def check_batch(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that the embeddings of a structure are the same in a batch and alone.

    One of the structures in the batch is a single atom without edges.
    """
    far, wide = (None if crystal.cell is None else factor * crystal.cell for factor in (20.0, 1.1))
    lone = Crystal(crystal.numbers[:1], crystal.pos[:1], far)
    parts = [crystal, lone, Crystal(crystal.numbers.flip(0), 1.1 * crystal.pos, wide)]
    together = embed(encoder, parts, cutoff)
    apart = [embed(encoder, [part], cutoff) for part in parts]
    for name in ("point_embedding", "system_embedding"):
        expected = torch.cat([getattr(part, name) for part in apart])
        require_close(
            getattr(together, name), expected, f"{name} of a batch and of its structures one by one"
        )


def check_isolated_atom(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check an atom without edges: its embeddings are finite and its force is zero and differentiable."""
    batch = crystal_batch([Crystal(crystal.numbers[:1], crystal.pos[:1], None)], cutoff)
    found = encoder(batch)
    for name in ("point_embedding", "system_embedding"):
        require(bool(getattr(found, name).isfinite().all()), f"{name} of an isolated atom is not finite")
    gradient = position_gradient(encoder, batch, create_graph=True)
    require(not bool(gradient.any()), f"The force on an isolated atom must be zero, got {gradient.tolist()}")


def check_receptive_field(encoder: Encoder, crystal: Crystal, cutoff: float, seed: int) -> None:
    """Check that moving an atom does not change the embeddings of atoms beyond the receptive field.

    The check moves the last atom of a chain in which edges connect only adjacent atoms. Embeddings of atoms
    that are more than ``receptive_field / cutoff`` edges away must not change. The check is skipped if the
    encoder has no `receptive_field` or if it is infinite.
    """
    field = getattr(encoder, "receptive_field", None)
    if field is None or math.isinf(field):
        return
    reach = round(field / cutoff)
    length = reach + 3
    pos = torch.zeros(length, 3, dtype=torch.float64)
    pos[:, 0] = 0.6 * cutoff * torch.arange(length)
    pos[::2, 1] = 0.1 * cutoff
    before = Crystal(crystal.numbers[torch.arange(length) % len(crystal.numbers)], pos, None)
    moved = pos.clone()
    moved[-1] += cutoff * torch.tensor([-0.1, 0.05, 0.2], dtype=torch.float64)
    found, expected = (
        embed(encoder, [chain], cutoff).point_embedding[: -reach - 1]
        for chain in (replace(before, pos=moved), before)
    )
    what = f"Atoms beyond the receptive field of {field:g} angstrom, before and after another moved"
    require_close(found, expected, what, _ROUNDING)
