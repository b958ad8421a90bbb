from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models import DimeNetPlusPlus
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal
from mml_models.testing.crystals import Crystal
from mml_models.testing.energy import forces, position_gradient

CUTOFF = 4.0
crystals = st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 3))
SMALL = {
    "hidden_dim": 8,
    "output_dim": 6,
    "num_conv": 2,
    "int_emb_size": 6,
    "basis_emb_size": 4,
    "out_emb_channels": 8,
    "num_spherical": 4,
    "num_radial": 3,
    "cutoff": CUTOFF,
}


def small(**options):
    torch.manual_seed(0)
    return DimeNetPlusPlus(**{**SMALL, **options})


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "compile" else [])
        for name in CHECKS
        if name != "compiled_second_derivatives"
    ],
)
def test_dimenet_passes_check(name):
    @settings(max_examples=1 if name == "compile" else 5)
    @given(crystals, st.integers(0, 1000))
    def check(crystal, seed):
        CHECKS[name](encoder, crystal, CUTOFF, seed)

    encoder = small().double()
    check()


@pytest.mark.slow
def test_compiled_gradients_equal_eager():
    encoder = small(num_conv=1).double()
    CHECKS["compiled_second_derivatives"](encoder, random_crystal(2), CUTOFF, 0)


@pytest.mark.slow
def test_collinear_atoms_pass_suite():
    """In a simple cubic crystal, many chains of edges are straight. Their angle has no derivative."""
    cell = 2.5 * torch.eye(3, dtype=torch.float64)
    crystal = Crystal(torch.tensor([29]), torch.zeros(1, 3).double(), cell)
    check_encoder(small(), crystal, skip={"compiled_second_derivatives"})


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"reduction": "mean"}, {"num_conv": 1}])
def test_other_options_pass_suite(options):
    check_encoder(small(**options), random_crystal(2), skip={"compiled_second_derivatives"})


def pygs_model(monkeypatch, edge_index):
    """Return PyG's model, with plain functions in place of the compiled packages that it needs."""
    from torch_geometric.nn.models import dimenet

    def triplets(edge_index, num_nodes):
        sources, targets = edge_index.tolist()
        chains = [
            (i, j, k, kj, ji)
            for ji, (j, i) in enumerate(zip(sources, targets, strict=True))
            for kj, (k, j2) in enumerate(zip(sources, targets, strict=True))
            if j == j2 and k != i
        ]
        i, j, k, kj, ji = torch.tensor(chains).T
        return edge_index[1], edge_index[0], i, j, k, kj, ji

    monkeypatch.setattr(dimenet, "radius_graph", lambda *_, **__: edge_index)
    monkeypatch.setattr(dimenet, "triplets", triplets)
    options = {
        name: value for name, value in SMALL.items() if name not in ("hidden_dim", "output_dim", "num_conv")
    }
    torch.manual_seed(1)
    return dimenet.DimeNetPlusPlus(8, 6, 2, **options, output_initializer="glorot_orthogonal")


def test_loaded_weights_reproduce_pyg(monkeypatch, tmp_path):
    pytest.importorskip("scipy", reason="PyG's model needs SciPy")
    molecule = Crystal(torch.tensor([8, 1, 1, 6]), 1.3 * torch.randn(4, 3).double(), None)
    batch = crystal_batch([molecule], CUTOFF)
    edge_index = batch["graph"].edge_index
    peer = pygs_model(monkeypatch, edge_index.flip(0))
    torch.save(peer.state_dict(), tmp_path / "weights.pt")
    encoder = small(weights=tmp_path / "weights.pt").double()
    expected = peer.double()(molecule.numbers, molecule.pos)
    found = encoder(batch).system_embedding
    # PyG stores the zeros of the Bessel functions in single precision.
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-5)


def test_single_precision_is_accurate():
    crystal = random_crystal(3)
    double = forces(small().double(), crystal, CUTOFF)
    batch = crystal_batch([crystal], CUTOFF)
    graph = batch["graph"]
    graph.pos, graph.offsets = graph.pos.float(), graph.offsets.float()
    single = -position_gradient(small(), batch, create_graph=False)
    assert float((double - single).abs().max()) < 1e-4 * float(double.abs().max())


def test_energy_trains_every_parameter():
    encoder = small().double()
    encoder(crystal_batch([random_crystal(0)], CUTOFF)).system_embedding.square().sum().backward()
    unused = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_radial": 0}, "num_radial must be at least 1, got 0"),
        ({"num_spherical": 1}, "num_spherical must be at least 2, got 1"),
        ({"envelope_exponent": 0}, "envelope_exponent must be at least 1, got 0"),
        ({"elements": [95]}, r"elements must be from 1 to num_atom_embedding=94, got \[95\]"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_other_element_raises():
    with pytest.raises(ValueError, match=r"Element 79 .* is not one of the encoder's elements \[13, 29\]"):
        small(elements=[13, 29])(crystal_batch([random_crystal(0, elements=[79])], CUTOFF))
