"""SchNet and PaiNN of schnetpack, with its atomwise head."""

from __future__ import annotations

from functools import partial
from typing import Any

import schnetpack.properties as names
from schnetpack.atomistic import Atomwise, PairwiseDistances
from schnetpack.nn import BesselRBF, CosineCutoff, GaussianRBF
from schnetpack.representation import PaiNN, SchNet
from torch import Tensor, nn

from encoders.face import CUTOFF, LAYERS, RADIAL, WIDTH, Batch, Contender

PACKAGES = ("schnetpack", "torch")


def _make(representation: Any, basis: Any, batch: Batch) -> Contender:
    vectors = PairwiseDistances()
    encoder = representation(
        n_atom_basis=WIDTH,
        n_interactions=LAYERS,
        radial_basis=basis(RADIAL, CUTOFF),
        cutoff_fn=CosineCutoff(CUTOFF),
    )
    head = Atomwise(n_in=WIDTH, output_key="energy")

    def energies(positions: Tensor) -> Tensor:
        inputs = {
            names.Z: batch.numbers,
            names.R: positions,
            names.idx_i: batch.edges[0],
            names.idx_j: batch.edges[1],
            names.offsets: batch.offsets,
            names.idx_m: batch.structure,
        }
        result: Tensor = head(encoder(vectors(inputs)))["energy"]
        return result

    return Contender(nn.ModuleList((encoder, head)), energies)


CONTENDERS = {"SchNet": partial(_make, SchNet, GaussianRBF), "PaiNN": partial(_make, PaiNN, BesselRBF)}
