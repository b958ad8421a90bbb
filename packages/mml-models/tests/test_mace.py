from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models import MACE, ScaleShiftMACE
from mml_models.optional import is_installed
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal

# The scripted functions of e3nn support neither tracing nor half precision.
NOT_CLAIMED = {"autocast", "compile", "compiled_second_derivatives"}
pytestmark = pytest.mark.skipif(not is_installed("mace"), reason="mml-models[mace] is not installed")

CUTOFF = 4.0
SMALL = {
    "hidden_irreps": "4x0e + 4x1o",
    "num_radial": 4,
    "max_ell": 2,
    "correlation": 2,
    "cutoff": CUTOFF,
    "elements": [13, 29, 79],
    "mlp_irreps": "4x0e",
}


def small(kind=MACE, **options):
    torch.manual_seed(0)
    return kind(**{**SMALL, **options})


@pytest.fixture(scope="module")
def encoder():
    return small().double()


@pytest.mark.parametrize("name", sorted(set(CHECKS) - NOT_CLAIMED))
def test_mace_passes_check(name, encoder):
    @settings(max_examples=2)
    @given(st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 3)), st.integers(0, 1000))
    def check(crystal, seed):
        CHECKS[name](encoder, crystal, CUTOFF, seed)

    check()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (MACE, {"mace_kwargs": {"pair_repulsion": True}, "output": "energy"}),
        (MACE, {"hidden_irreps": "4x0e + 4x0o + 2x1o + 2x1e", "num_conv": 1, "reduction": "mean"}),
        (ScaleShiftMACE, {"output": "energy", "atomic_inter_scale": 0.5, "atomic_inter_shift": 0.1}),
    ],
)
def test_other_options_pass_suite(kind, options):
    check_encoder(small(kind, **options), random_crystal(2), skip=NOT_CLAIMED & set(CHECKS))


@pytest.mark.parametrize("kind", [MACE, ScaleShiftMACE])
def test_energies_and_forces_equal_model(kind):
    energies = {"atomic_energies": [1.0, -2.0, 3.0], "output": "energy"}
    encoder = small(kind, **energies).double()
    crystals = [random_crystal(0, 2), random_crystal(1, 3)]
    batch = crystal_batch(crystals, CUTOFF)
    graph = batch["graph"]
    # The convention of MACE: sender, receiver, and the shift of the receiver.
    theirs = {
        "positions": graph.pos.clone(),
        "shifts": -graph.offsets,
        "edge_index": graph.edge_index.flip(0),
        "node_attrs": torch.nn.functional.one_hot(encoder.elements(graph.atomic_numbers), 3).double(),
        "cell": graph.cell.reshape(-1, 3),
        "batch": graph.batch,
        "ptr": graph.ptr,
    }
    expected = encoder.model(theirs, compute_force=True)
    graph.pos.requires_grad_(True)
    found = encoder(batch).system_embedding
    (gradient,) = torch.autograd.grad(found.sum(), graph.pos)
    torch.testing.assert_close(found.squeeze(1), expected["energy"])
    torch.testing.assert_close(-gradient, expected["forces"])


def test_features_are_scalars_of_each_layer(encoder):
    assert encoder.output_dim == 8
    assert encoder.columns.tolist() == [0, 1, 2, 3, 16, 17, 18, 19]  # 4 scalars, 4 vectors, 4 scalars
    assert small(hidden_irreps="3x0e + 2x0o + 1x1o").output_dim == 6


def test_energy_trains_every_parameter(encoder):
    encoder = small().double()
    encoder(crystal_batch([random_crystal(0)], CUTOFF)).system_embedding.square().sum().backward()
    unused = [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    frozen = [n for n, p in encoder.named_parameters() if not p.requires_grad]
    assert unused == []
    assert frozen
    assert all(name.startswith("model.readouts.") for name in frozen)


@pytest.mark.parametrize("kind", [MACE, ScaleShiftMACE])
def test_state_dict_and_trusted_model_are_loaded(tmp_path, kind):
    source = small(kind, output="energy")
    torch.save(source.model.state_dict(), tmp_path / "weights.pt")
    torch.save(source.model, tmp_path / "model.pt")
    batch = crystal_batch([random_crystal(0)], CUTOFF)
    expected = source.double()(batch).system_embedding
    torch.manual_seed(5)
    loaded = kind(**SMALL, output="energy", weights=tmp_path / "weights.pt").double()
    whole = kind.from_file(tmp_path / "model.pt", "energy", trust_pickle=True).double()
    for encoder in (loaded, whole, kind.from_model(source.model, "energy")):
        assert torch.equal(encoder(batch).system_embedding, expected)
    with pytest.raises(ValueError, match=r"model\.pt is a pickle, .* trust_pickle=True"):
        kind.from_file(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt is damaged, or contains pickled objects"):
        kind(**SMALL, weights=tmp_path / "model.pt")
    with pytest.raises(TypeError, match="a state_dict goes to weights"):
        kind.from_file(tmp_path / "weights.pt", trust_pickle=True)


def test_head_selects_energy():
    model = small(mace_kwargs={"heads": ["dft", "cc"]}).model
    energies = model.atomic_energies_fn.atomic_energies
    model.atomic_energies_fn.atomic_energies = torch.stack((energies, energies + 1.0))
    with pytest.raises(ValueError, match="head must be one of dft, cc, got None"):
        MACE.from_model(model, "energy")
    batch = crystal_batch([random_crystal(0)], CUTOFF)
    first, second = (
        MACE.from_model(model, "energy", head=head).double()(batch).system_embedding for head in ("dft", "cc")
    )
    assert not torch.allclose(first, second)


def test_import_keeps_safe_loading(encoder):
    """Importing MACE sets this variable, which makes torch execute pickled code in files."""
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interaction": "Residual"}, "interaction must be one of RealAgnostic.*, got 'Residual'"),
        (
            {"atomic_energies": [1.0]},
            r"atomic_energies must have one number per element \[13, 29, 79\], got 1 numbers",
        ),
        ({"output": "forces"}, "output must be 'features' or 'energy', got 'forces'"),
        ({"num_conv": 0}, "num_conv must be at least 1, got 0"),
        ({"elements": []}, "elements is empty"),
        ({"elements": [0, 3]}, r"elements must be .* got \[0\]"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_other_element_raises(encoder):
    with pytest.raises(
        ValueError, match=r"Element 78 .* is not one of the encoder's elements \[13, 29, 79\]"
    ):
        encoder(crystal_batch([random_crystal(0, elements=[78])], CUTOFF))
