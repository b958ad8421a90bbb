from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models import ViSNet
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal
from mml_models.testing.crystals import Crystal

CUTOFF = 4.0
crystals = st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 3))


def small(**options):
    torch.manual_seed(0)
    return ViSNet(
        **{"hidden_dim": 8, "num_conv": 2, "num_heads": 2, "num_radial": 6, "cutoff": CUTOFF, **options}
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "compile" else [])
        for name in CHECKS
        if name != "compiled_second_derivatives"
    ],
)
def test_visnet_passes_check(name):
    @settings(max_examples=1 if name == "compile" else 5)
    @given(crystals, st.integers(0, 1000))
    def check(crystal, seed):
        CHECKS[name](encoder, crystal, CUTOFF, seed)

    encoder = small().double()
    check()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"reduction": "mean"}, {"lmax": 2}, {"vertex": True, "num_conv": 3}, {"num_conv": 1}]
)
def test_other_options_pass_suite(options):
    check_encoder(small(**options), random_crystal(2), skip={"compiled_second_derivatives"})


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"num_conv": 1}, {"vertex": True, "lmax": 2}])
def test_compiled_gradients_equal_eager(options):
    CHECKS["compiled_second_derivatives"](small(**options).double(), random_crystal(2), CUTOFF, 0)


@pytest.mark.slow
def test_trained_bias_makes_energy_jump():
    encoder = small(num_conv=3)
    with torch.no_grad():
        for layer in encoder.model.vis_mp_layers:
            layer.s_proj.bias.add_(1.0)
    with pytest.raises(AssertionError, match="jump"):
        check_encoder(encoder)
    check_encoder(encoder, skip=["cutoff"])


@pytest.mark.parametrize("options", [{}, {"lmax": 2, "vertex": True}])
@pytest.mark.parametrize("whole", [False, True])
def test_loaded_weights_reproduce_pyg(tmp_path, options, whole):
    from torch_geometric.nn.models import ViSNet as Peer

    molecule = Crystal(torch.tensor([8, 1, 1, 6]), 1.3 * torch.randn(4, 3).double(), None)
    batch = crystal_batch([molecule], CUTOFF)
    peer = Peer(hidden_channels=8, num_layers=2, num_heads=2, num_rbf=6, cutoff=CUTOFF, max_z=100, **options)
    representation = peer.representation_model
    torch.save((peer if whole else representation).state_dict(), tmp_path / "weights.pt")
    found = small(weights=tmp_path / "weights.pt", **options).double()(batch)

    def with_loops(pos, _):
        atoms = torch.arange(len(pos))
        index = torch.cat((batch["graph"].edge_index.flip(0), atoms.expand(2, -1)), dim=1)
        vectors = pos[index[0]] - pos[index[1]]
        return index, vectors.norm(dim=1), vectors

    representation.double().distance.forward = with_loops
    expected, _ = representation(molecule.numbers, molecule.pos, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(found.point_embedding, expected)


@pytest.mark.parametrize("num_conv", [1, 2, 3])
def test_energy_trains_every_parameter(num_conv):
    encoder = small(num_conv=num_conv).double()
    batch = crystal_batch([random_crystal(0)], CUTOFF)
    weights = torch.randn(8, dtype=torch.float64)
    (encoder(batch).system_embedding @ weights).square().sum().backward()
    unused = [
        name
        for name, p in encoder.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    # The first layer receives zero vectors, in PyG's model as well, so these parameters have no effect.
    of_vectors = ["vec_proj.weight", "f_proj.weight", "f_proj.bias", "w_src_proj.weight", "w_trg_proj.weight"]
    expected = of_vectors[:1] if num_conv == 1 else of_vectors
    assert unused == [f"model.vis_mp_layers.0.{name}" for name in expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": 9}, "hidden_dim must be a multiple of num_heads=2, got 9"),
        ({"lmax": 3}, "lmax must be 1 or 2, got 3"),
        ({"num_radial": 0}, "num_radial must be at least 1, got 0"),
        ({"elements": []}, "elements is empty"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
