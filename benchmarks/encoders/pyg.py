"""PyG's SchNet on the edges of the batch, passed through its `interaction_graph` hook."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.nn.models import SchNet

from encoders.face import CUTOFF, LAYERS, RADIAL, WIDTH, Batch, Contender

PACKAGES = ("torch-geometric", "torch")


def _schnet(batch: Batch) -> Contender:
    center, neighbor = batch.edges

    def edges(positions: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        vectors = positions[neighbor] + batch.offsets - positions[center]
        return batch.edges.flip(0), vectors.norm(dim=1)

    model = SchNet(WIDTH, WIDTH, LAYERS, RADIAL, CUTOFF, interaction_graph=edges)
    return Contender(model, lambda pos: model(batch.numbers, pos, batch.structure).squeeze(-1))


CONTENDERS = {"SchNet": _schnet}
