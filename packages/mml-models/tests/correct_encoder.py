"""A small correct encoder. The tests of the checks derive faulty encoders from it."""

from __future__ import annotations

import torch
from mml_models import Embeddings
from torch import nn

CUTOFF = 4.0


class Correct(nn.Module):
    """One layer of sums over neighbors. Each step is a method that a faulty encoder overrides."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.output_dim = 3
        self.cutoff = self.receptive_field = CUTOFF
        self.table = nn.Embedding(100, 3)
        self.mlp = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def edges(self, graph):
        return graph.edge_index[0], graph.edge_index[1], graph.offsets

    def vectors(self, graph, center, neighbor, offsets):
        return graph.pos[neighbor] + offsets - graph.pos[center]

    def envelope(self, distances):
        x = (distances / CUTOFF).clamp(max=1.0)
        return (1 - x * x) ** 3

    def messages(self, graph, center, neighbor, vectors):
        distances = vectors.norm(dim=1, keepdim=True)
        # Each channel decays differently, so that the channels differ.
        decay = torch.exp(-distances * torch.tensor([0.2, 0.5, 1.0]).to(distances))
        return self.table(graph.atomic_numbers[neighbor]) * decay * self.envelope(distances)

    def aggregate(self, messages, center, num_atoms):
        return messages.new_zeros(num_atoms, 3).index_add(0, center, messages)

    def update(self, graph, own, received):
        return self.mlp(torch.cat((own, received), dim=1))

    def pool(self, points, graph):
        return points.new_zeros(len(graph.ptr) - 1, points.shape[1]).index_add(0, graph.batch, points)

    def forward(self, batch):
        graph = batch["graph"]
        center, neighbor, offsets = self.edges(graph)
        vectors = self.vectors(graph, center, neighbor, offsets)
        messages = self.messages(graph, center, neighbor, vectors)
        received = self.aggregate(messages, center, len(graph.pos))
        points = self.update(graph, self.table(graph.atomic_numbers), received)
        return Embeddings(self.pool(points, graph), points)
