from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from mml_models import MEGNet
from mml_models.batch import read_graph
from mml_models.layers.edges import edges_within, polynomial_envelope
from mml_models.testing import crystal_batch, random_crystal, supercell
from torch import nn

CUTOFF = 4.0


def small(**options):
    torch.manual_seed(0)
    sizes = {"hidden_dim": 8, "output_dim": 6, "num_conv": 2, "num_gaussians": 8, "cutoff": CUTOFF}
    return MEGNet(**{**sizes, **options}).double()


def test_block_equals_paper():
    block = small().blocks[0]
    graph = read_graph(crystal_batch([random_crystal(0, 2), random_crystal(1, 3)], CUTOFF))
    edges = edges_within(graph, CUTOFF, torch.float64)
    generator = torch.Generator().manual_seed(0)
    v, e, s = (torch.randn(n, 8, generator=generator, dtype=torch.float64) for n in (5, len(edges.center), 2))
    weights = polynomial_envelope(edges.distances, CUTOFF).unsqueeze(1) / 12.0
    found = block(v, e, s, weights, edges, graph)

    inputs = [layers(x) for layers, x in zip(block.prepare, (v, e, s), strict=True)]
    maps = (block.from_center, block.from_neighbor, block.from_edge, block.from_state)
    first = nn.Linear(32, 16).double()
    first.weight.data = torch.cat([part.weight for part in maps], dim=1)
    first.bias.data = block.from_center.bias
    new_e, new_s = [], []
    for k, (i, j) in enumerate(zip(edges.center, edges.neighbor, strict=True)):
        of = inputs[0][i], inputs[0][j], inputs[1][k], inputs[2][graph.structure[i]]
        new_e.append(block.edge(first(torch.cat(of))))
    weighted = weights * torch.stack(new_e)
    sums = torch.stack([weighted[edges.center == i].sum(dim=0) for i in range(5)])
    own = inputs[2][graph.structure]
    new_v = [block.atom(torch.cat((sums[i], inputs[0][i], own[i]))) for i in range(5)]
    for b, atoms in enumerate((slice(0, 2), slice(2, 5))):
        means = sums[atoms].mean(dim=0), torch.stack(new_v[atoms]).mean(dim=0), inputs[2][b]
        new_s.append(block.whole(torch.cat(means)))
    for ours, before, change in zip(found, (v, e, s), (new_v, new_e, new_s), strict=True):
        torch.testing.assert_close(ours, before + torch.stack(change))


def test_atom_depends_on_whole_structure_only():
    """An atom far from the others depends on them through the state of the structure."""
    crystal = replace(random_crystal(0, 3), cell=None)
    far = crystal.pos.clone()
    far[0] += 100.0
    apart, alone = replace(crystal, pos=far), replace(crystal, numbers=crystal.numbers[:1], pos=far[:1])
    encoder = small()
    found = encoder(crystal_batch([apart, alone], CUTOFF)).point_embedding
    assert not torch.allclose(found[0], found[3])
    torch.testing.assert_close(found[:3], encoder(crystal_batch([apart], CUTOFF)).point_embedding)


def test_set2set_is_intensive_and_not_the_mean():
    crystal = random_crystal(0)
    batch = crystal_batch([crystal, supercell(crystal, (2, 1, 1))], CUTOFF)
    found = small(reduction="set2set")(batch)
    torch.testing.assert_close(found.system_embedding[0], found.system_embedding[1])
    assert not torch.allclose(found.system_embedding[0], found.point_embedding[:3].mean(dim=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "max"}, "reduction must be 'sum', 'mean' or 'set2set', got 'max'"),
        ({"neighbor_norm": -1.0}, "neighbor_norm must be above 0, got -1.0"),
        ({"cutoff": 0.0}, "cutoff must be a positive length in angstrom, got 0.0"),
        ({"num_gaussians": 1}, "num_gaussians must be at least 2, got 1"),
        ({"num_conv": 0}, "num_conv must be at least 1, got 0"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
