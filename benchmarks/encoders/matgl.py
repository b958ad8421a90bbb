"""TensorNet of matgl up to its atom vectors, with the linear head of mml-models."""

from __future__ import annotations

from types import SimpleNamespace

from matgl.models import TensorNet
from torch import Tensor, nn

from encoders.face import CUTOFF, LAYERS, RADIAL, WIDTH, Batch, Contender

PACKAGES = ("matgl", "torch")


def _tensornet(batch: Batch) -> Contender:
    encoder = TensorNet(
        units=WIDTH, nblocks=LAYERS, num_rbf=RADIAL, cutoff=CUTOFF, is_intensive=False, use_warp=False
    )
    del encoder.final_layer  # matgl's head, which has four layers
    head = nn.Linear(WIDTH, 1)
    count = int(batch.structure.max()) + 1

    def energies(positions: Tensor) -> Tensor:
        # Atom types are indices into a table of elements. The time of a step does not depend on them.
        graph = SimpleNamespace(
            node_type=batch.numbers - 1, pos=positions, edge_index=batch.edges, pbc_offshift=batch.offsets
        )
        nodes = head(encoder.forward_features(graph)["readout"]).squeeze(-1)
        return nodes.new_zeros(count).index_add(0, batch.structure, nodes)

    return Contender(nn.ModuleList((encoder, head)), energies)


CONTENDERS = {"TensorNet": _tensornet}
