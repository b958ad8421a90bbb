"""Tests of QET alone. `test_matgl.py` contains the tests that it shares with other encoders."""

from __future__ import annotations

import pytest
import torch
from mml_models import QET
from mml_models.batch import read_graph
from mml_models.layers.edges import edges_within
from mml_models.optional import is_installed
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal

CUTOFF = 4.0
needs_matgl = pytest.mark.skipif(not is_installed("matgl"), reason="mml-models[matgl] is not installed")


def small(**options):
    torch.manual_seed(0)
    return QET(hidden_dim=8, num_conv=2, cutoff=CUTOFF, elements=[13, 29, 79], **options)


def edges_of(*crystals):
    return edges_within(read_graph(crystal_batch(crystals, CUTOFF)), CUTOFF, torch.float64)


def test_bonds_go_from_center_to_neighbor():
    edges = edges_of(random_crystal(0, 3))
    index, vectors, images = QET.bonds(edges)
    assert torch.equal(index, torch.stack((edges.center, edges.neighbor)))
    assert vectors is edges.vectors
    assert images is None


@needs_matgl
def test_charges_of_each_structure_sum_to_zero():
    encoder = small().double()
    graph = read_graph(crystal_batch([random_crystal(0, 2), random_crystal(1, 3)], CUTOFF))
    given = encoder.graph(graph.atomic_numbers, edges_within(graph, CUTOFF, torch.float64))
    given.batch, given.num_graphs = graph.structure, 2
    charges = encoder.run(given)["charge"]
    assert (charges.abs() > 1e-4).any()
    totals = charges.new_zeros(2).index_add(0, graph.structure, charges)
    torch.testing.assert_close(totals, torch.zeros_like(totals))


@needs_matgl
def test_atoms_depend_on_whole_structure():
    with pytest.raises(AssertionError, match="atoms without outgoing edges, and isolated atoms"):
        check_encoder(small(), skip=set(CHECKS) - {"given_edges"})
