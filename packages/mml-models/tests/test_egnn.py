from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mml_models import EGNN
from mml_models.layers.edge_rows import edge_rows
from mml_models.layers.edges import Edges, polynomial_envelope
from mml_models.layers.pairs import Pairs
from mml_models.testing import crystal_batch, random_crystal
from torch import nn

CUTOFF = 4.0


def small(**options):
    """Return a small encoder with large displacements, so that the tests detect errors in them."""
    torch.manual_seed(0)
    encoder = EGNN(**{"hidden_dim": 12, "output_dim": 6, "cutoff": CUTOFF, "num_gaussians": 8, **options})
    for layer in encoder.layers:
        if layer.displace is not None:
            nn.init.normal_(layer.displace[-1].weight, std=0.3)
    return encoder


def test_layer_equals_paper():
    layer = small(num_conv=2).double().layers[0]
    generator = torch.Generator().manual_seed(0)
    h, a = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((4, 12), (7, 8)))
    r = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    i, j = torch.randint(4, (2, 7), generator=generator)
    u = torch.rand(7, 1, generator=generator, dtype=torch.float64)
    edges = Edges(i, j, r, r.norm(dim=1))
    rows = edge_rows(edges, Pairs(None, None), 12)
    assert rows.edge.tolist() == list(range(7))
    found_h, found_r = layer(h, r, a, u, rows)

    first = torch.cat((layer.from_center.weight, layer.from_neighbor.weight, layer.from_edge.weight), dim=1)
    m, x, c = torch.zeros(4, 12).double(), torch.zeros(4, 3).double(), layer.neighbor_norm
    for e in range(7):
        inputs = torch.cat((h[i[e]], h[j[e]], r[e].square().sum()[None], a[e]))
        message = layer.message(first @ inputs + layer.from_center.bias) * u[e]
        m[i[e]] += message / c
        x[i[e]] += -r[e] * layer.displace(message) * u[e] / c
    torch.testing.assert_close(found_h, h + layer.update(torch.cat((h, m), dim=1)))
    torch.testing.assert_close(found_r, r + x[j] - x[i])


def test_displacements_change_embeddings():
    batch = crystal_batch([random_crystal(0)], CUTOFF)
    encoder = small().double()
    moved = encoder(batch).point_embedding
    for layer in encoder.layers[:-1]:
        nn.init.zeros_(layer.displace[-1].weight)
    assert not torch.allclose(moved, encoder(batch).point_embedding)


def test_plain_object_is_embedded():
    graph = SimpleNamespace(
        atomic_numbers=torch.tensor([29, 29]),
        pos=torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]),
        edge_index=torch.tensor([[0, 1], [1, 0]]),
    )
    assert small()({"graph": graph}).system_embedding.shape == (1, 6)


def test_coincident_atoms_have_finite_gradients():
    pos = torch.zeros(2, 3, requires_grad=True)
    graph = SimpleNamespace(
        atomic_numbers=torch.tensor([29, 29]), pos=pos, edge_index=torch.tensor([[0, 1], [1, 0]])
    )
    (first,) = torch.autograd.grad(small()({"graph": graph}).point_embedding.sum(), pos, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), pos)
    assert bool(first.isfinite().all())
    assert bool(second.isfinite().all())


def test_force_decays_like_envelope():
    """Near the cutoff, the force of a dimer is proportional to the slope of the envelope."""
    encoder = small().double()

    def force(distance):
        pos = torch.tensor([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
        graph = SimpleNamespace(
            atomic_numbers=torch.tensor([29, 29]), pos=pos, edge_index=torch.tensor([[0, 1], [1, 0]])
        )
        return torch.autograd.grad(encoder({"graph": graph}).point_embedding.sum(), pos)[0][1, 0]

    def slope(distance):
        d = torch.tensor([distance], dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(polynomial_envelope(d, CUTOFF).sum(), d)[0]

    near, nearer = CUTOFF * (1 - 2e-3), CUTOFF * (1 - 1e-3)
    torch.testing.assert_close(
        force(near) / force(nearer), (slope(near) / slope(nearer))[0], rtol=0.05, atol=0.0
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "ReLU"}, "activation must be one of .* got 'ReLU'"),
        ({"neighbor_norm": 0.0}, "neighbor_norm must be above 0, got 0.0"),
        ({"num_gaussians": 1}, "num_gaussians must be at least 2, got 1"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
