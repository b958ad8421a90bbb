"""The encoders of mml-models, with a linear head."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

from mml_models import EGNN, MEGNet, PaiNN, SchNet, TensorNet
from torch import Tensor, nn

from encoders.face import CUTOFF, LAYERS, RADIAL, WIDTH, Batch, Contender

PACKAGES = ("mml-models", "torch")


def _make(encoder_class: Any, batch: Batch, **options: Any) -> Contender:
    encoder = encoder_class(hidden_dim=WIDTH, output_dim=WIDTH, num_conv=LAYERS, cutoff=CUTOFF, **options)
    head = nn.Linear(WIDTH, 1)
    count = int(batch.structure.max()) + 1

    def energies(positions: Tensor) -> Tensor:
        graph = SimpleNamespace(
            atomic_numbers=batch.numbers,
            pos=positions,
            edge_index=batch.edges,
            offsets=batch.offsets,
            batch=batch.structure,
        )
        nodes = head(encoder({"graph": graph}).point_embedding).squeeze(-1)
        return nodes.new_zeros(count).index_add(0, batch.structure, nodes)

    return Contender(nn.ModuleList((encoder, head)), energies)


CONTENDERS = {
    "SchNet": partial(_make, SchNet, num_gaussians=RADIAL),
    "PaiNN": partial(_make, PaiNN, num_radial=RADIAL),
    "EGNN": partial(_make, EGNN, num_gaussians=RADIAL),
    "MEGNet": partial(_make, MEGNet, num_gaussians=RADIAL),
    "TensorNet": partial(_make, TensorNet, num_gaussians=RADIAL),
}
