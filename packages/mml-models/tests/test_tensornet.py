"""Compare TensorNet with the equations of the paper, with 3 x 3 matrices and one edge at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import strategies as st
from mml_models import TensorNet
from mml_models.batch import read_graph
from mml_models.layers.edges import edges_within
from mml_models.layers.tensors import basis_matrices
from mml_models.testing import CHECKS, Crystal, check_encoder, crystal_batch, random_crystal

CUTOFF = 4.0
crystals = st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 4))


def small(**options):
    torch.manual_seed(0)
    sizes = {"hidden_dim": 10, "output_dim": 6, "num_conv": 2, "cutoff": CUTOFF, "num_gaussians": 6}
    return TensorNet(**{**sizes, **options})


@pytest.mark.slow
def test_three_layers_pass_suite():
    check_encoder(small(num_conv=3), random_crystal(2), skip=["autocast", "compiled_second_derivatives"])


@pytest.mark.slow
def test_so3_distinguishes_mirror_images():
    encoder = small(group="SO(3)").double()
    check_encoder(encoder, skip=["reflection", "autocast"])
    with pytest.raises(AssertionError, match="after reflection"):
        CHECKS["reflection"](encoder, random_crystal(0), CUTOFF, 0)


def tensors(encoder, crystal):
    """Return the tensors of the atoms, [N, F, 3, 3]."""
    graph = read_graph(crystal_batch([crystal], CUTOFF))
    x = encoder.embed_tensors(graph.atomic_numbers, edges_within(graph, CUTOFF, torch.float64))
    return torch.einsum("mab,nmf->nfab", basis_matrices(x), x)


@pytest.mark.parametrize(("group", "sign"), [("O(3)", 1), ("O(3)", -1), ("SO(3)", 1)])
def test_tensors_rotate_with_crystal(group, sign):
    """Under inversion, the antisymmetric part changes sign, as a vector does."""
    encoder = small(group=group).double()
    crystal = random_crystal(5, 3)
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    turn = turn * turn.det()
    moved = Crystal(crystal.numbers, sign * crystal.pos @ turn.T, sign * crystal.cell @ turn.T)
    expected = turn @ tensors(encoder, crystal) @ turn.T
    torch.testing.assert_close(tensors(encoder, moved), expected if sign == 1 else expected.mT)


def parts(x):
    """Split matrices [..., 3, 3] into their scalar, antisymmetric and traceless symmetric parts."""
    eye = torch.eye(3, dtype=x.dtype)
    scalar = x.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * eye
    return scalar, (x - x.mT) / 2, (x + x.mT) / 2 - scalar


def frobenius(x):
    return x.square().sum(dim=(-2, -1))


def by_the_paper(encoder, crystal):
    """Compute the embeddings of the atoms from matrices [F, 3, 3], one edge at a time."""
    graph = read_graph(crystal_batch([crystal], CUTOFF))
    center, neighbor = graph.edge_index.tolist()
    vectors = (graph.pos[neighbor] + graph.offsets - graph.pos[center]).unbind()
    edges = [
        (i, j, v, v.norm()) for i, j, v in zip(center, neighbor, vectors, strict=True) if v.norm() < CUTOFF
    ]
    z = encoder.elements(graph.atomic_numbers)
    width, num_atoms = z.shape[1], z.shape[0]

    def linear(maps, x):
        return sum(
            torch.einsum("gf,nfab->ngab", m.weight, p) for m, p in zip(maps.maps, parts(x), strict=True)
        )

    def envelope(d):
        return (math.cos(math.pi * float(d) / CUTOFF) + 1) / 2

    emb = encoder.embedding
    x = torch.zeros(num_atoms, width, 3, 3, dtype=torch.float64)
    for i, j, v, d in edges:
        e = v / d
        cross = torch.zeros(3, 3, dtype=torch.float64)
        cross[2, 1], cross[0, 2], cross[1, 0] = e
        shapes = (torch.eye(3, dtype=torch.float64), cross - cross.T, torch.outer(e, e) - torch.eye(3) / 3)
        pair = emb.from_center(z[i]) + emb.from_neighbor(z[j])
        g = torch.cat((encoder.basis(d.reshape(1))[0], torch.ones(1).double()))
        for w, shape in zip(emb.radial, shapes, strict=True):
            x[i] += (pair * w(g) * envelope(d))[:, None, None] * shape
    gates = emb.gates(emb.norm(frobenius(x))).reshape(num_atoms, 3, width)
    mixed = zip(emb.mix.maps, parts(x), gates.unbind(1), strict=True)
    x = sum(torch.einsum("gf,nfab->ngab", m.weight, p) * g[..., None, None] for m, p, g in mixed)
    for layer in encoder.layers:
        x = x / (1 + frobenius(x))[..., None, None]
        y = linear(layer.mix, x)
        received = torch.zeros_like(x)
        for i, j, _, d in edges:
            f = layer.filter(encoder.basis(d.reshape(1)))[0].reshape(3, width) * envelope(d)
            received[i] += sum(p[j] * w[:, None, None] for p, w in zip(parts(y), f, strict=True))
        both = y @ received + received @ y if encoder.group == "O(3)" else 2 * y @ received
        change = linear(layer.update, both / (1 + frobenius(both))[..., None, None])
        x = x + change + change @ change
    return encoder.readout(torch.cat([frobenius(p) for p in parts(x)], dim=1))


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
@pytest.mark.parametrize("seed", range(3))
def test_embeddings_equal_paper(group, seed):
    encoder = small(group=group).double()
    for parameter in encoder.parameters():  # by default, biases are zero and norms are one
        torch.nn.init.normal_(parameter, std=0.5)
    crystal = random_crystal(seed, 3)
    found = encoder(crystal_batch([crystal], CUTOFF)).point_embedding
    torch.testing.assert_close(found, by_the_paper(encoder, crystal))


def test_receptive_field_exceeds_layers_by_one():
    encoder = small().double()
    assert encoder.receptive_field == 3 * CUTOFF
    encoder.receptive_field = 2 * CUTOFF
    with pytest.raises(AssertionError, match="receptive field of 8 angstrom"):
        CHECKS["receptive_field"](encoder, random_crystal(0), CUTOFF, 0)


def test_energy_trains_every_parameter():
    encoder = small().double()
    encoder(crystal_batch([random_crystal(0)], CUTOFF)).system_embedding.square().sum().backward()
    unused = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "E(3)"}, r"group must be 'O\(3\)' or 'SO\(3\)', got 'E\(3\)'"),
        ({"num_conv": 0}, "num_conv must be at least 1, got 0"),
        ({"num_gaussians": 1}, "num_gaussians must be at least 2, got 1"),
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, got 0"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
