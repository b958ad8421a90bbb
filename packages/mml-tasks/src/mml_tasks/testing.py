"""Small crystals, brute-force graphs and a toy encoder, for tests without the other packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from mml_samples import Batch
from torch import Tensor, nn

CUTOFF = 4.0


class ToyEmbeddings(NamedTuple):
    """Output of `ToyEncoder`."""

    system_embedding: Tensor
    point_embedding: Tensor


class ToyEncoder(nn.Module):
    """Encoder for tests: a sum over neighbors, followed by a small network.

    The sum runs over (element embedding) * (radial filter) * (envelope).

    Parameters
    ----------
    output_dim
        Width of the embeddings.
    cutoff
        Distance at which the envelope ``(1 - (d / cutoff)**2)**3`` reaches zero, in angstrom.
    """

    def __init__(self, output_dim: int = 8, cutoff: float = CUTOFF) -> None:
        super().__init__()
        self.output_dim = output_dim
        self.cutoff = cutoff
        self.elements = nn.Embedding(100, output_dim)
        self.filter = nn.Linear(8, output_dim)
        self.mix = nn.Sequential(nn.Linear(2 * output_dim, output_dim), nn.SiLU())
        self.register_buffer("centers", torch.linspace(0.0, 1.0, 8), persistent=False)

    def forward(self, batch: Batch) -> ToyEmbeddings:
        """Embed atoms, and embed structures as the mean over their atoms."""
        graph = batch["graph"]
        source, target = graph.edge_index
        vectors = graph.pos[target] + graph.offsets - graph.pos[source]
        scaled = vectors.norm(dim=-1, keepdim=True) / self.cutoff
        radial = self.filter(torch.exp(-((scaled - self.centers) ** 2) * 16))
        messages = self.elements(graph.atomic_numbers)[target] * radial * (1 - scaled**2).clamp(min=0) ** 3
        own = self.elements(graph.atomic_numbers)
        points = self.mix(torch.cat([own, torch.zeros_like(own).index_add(0, source, messages)], dim=-1))
        sums = points.new_zeros(graph.natoms.shape[0], self.output_dim).index_add(0, graph.batch, points)
        return ToyEmbeddings(sums / graph.natoms.view(-1, 1), points)


def toy_graph(atomic_numbers: Tensor, pos: Tensor, cell: Tensor, cutoff: float = CUTOFF) -> SimpleNamespace:
    """Return the periodic graph of one structure; edges within ``cutoff`` are found by brute force.

    Parameters
    ----------
    atomic_numbers
        Atomic numbers, [N] int64.
    pos
        Positions, [N, 3] in angstrom.
    cell
        Lattice vectors as rows, [3, 3] in angstrom.
    cutoff
        Maximum length of an edge, in angstrom.
    """
    heights = 1 / torch.linalg.inv(cell).norm(dim=0)
    frac = pos @ torch.linalg.inv(cell)
    spread = frac.max(dim=0).values - frac.min(dim=0).values
    reach = [int(n) for n in torch.ceil(cutoff / heights + spread)]
    images = torch.tensor(list(product(*[range(-n, n + 1) for n in reach])), dtype=pos.dtype)
    offsets = images @ cell
    distances = (pos[None, None] + offsets[:, None, None] - pos[None, :, None]).norm(
        dim=-1
    )  # image, source, target
    image, source, target = torch.nonzero((distances <= cutoff) & (distances > 1e-6), as_tuple=True)
    order = torch.argsort(source, stable=True)
    return SimpleNamespace(
        atomic_numbers=atomic_numbers,
        pos=pos,
        edge_index=torch.stack([source, target])[:, order],
        offsets=offsets[image][order],
        cell=cell.view(1, 3, 3),
        natoms=torch.tensor([len(pos)]),
        batch=torch.zeros(len(pos), dtype=torch.int64),
    )


def toy_batch(
    graphs: Sequence[SimpleNamespace], targets: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """Return a batch of several structures; ``targets`` are the targets of the whole batch."""
    starts = torch.cumsum(torch.tensor([0, *[len(graph.pos) for graph in graphs]]), 0).tolist()
    edges = [graph.edge_index + start for graph, start in zip(graphs, starts, strict=False)]
    joined = {
        name: torch.cat([getattr(graph, name) for graph in graphs])
        for name in ("atomic_numbers", "pos", "offsets", "cell", "natoms")
    }
    graph = SimpleNamespace(
        **joined,
        edge_index=torch.cat(edges, dim=1),
        batch=torch.repeat_interleave(torch.arange(len(graphs)), joined["natoms"]),
    )
    batch: dict[str, Any] = {
        "graph": graph,
        "sample_id": [f"toy/{index:06d}" for index in range(len(graphs))],
    }
    return batch | ({"targets": dict(targets)} if targets is not None else {})


def random_structure(
    seed: int, atoms: int = 4, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Return atomic numbers [N], positions [N, 3] and a triclinic cell [3, 3], drawn with ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    cell = (torch.eye(3) * 4 + torch.rand(3, 3, generator=generator) - 0.5).to(dtype)
    grid = torch.tensor(list(product([0.0, 0.5], repeat=3)), dtype=dtype)
    sites = grid[torch.randperm(8, generator=generator)[:atoms]]
    rattle = 0.1 * (torch.rand(atoms, 3, generator=generator).to(dtype) - 0.5)
    numbers = torch.randint(1, 90, (atoms,), generator=generator)
    return numbers, (sites + rattle) @ cell, cell
