from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models import Allegro, NequIP
from mml_models.optional import is_installed
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal

# torch.compile cannot trace branches on the number of edges. The products of e3nn require one dtype.
COMPILED = {"compile", "compiled_second_derivatives"}
NOT_CLAIMED = {NequIP: {"autocast", *COMPILED}, Allegro: COMPILED}
pytestmark = pytest.mark.skipif(not is_installed("nequip"), reason="mml-models[nequip] is not installed")

CUTOFF = 4.0
SMALL = {"hidden_dim": 4, "num_conv": 2, "num_radial": 4, "cutoff": CUTOFF, "elements": [13, 29, 79]}
BOTH = pytest.mark.parametrize("kind", [NequIP, Allegro])


def small(kind, **options):
    torch.manual_seed(0)
    return kind(**{**SMALL, **options})


@BOTH
@pytest.mark.parametrize("name", CHECKS)
def test_adapter_passes_check(name, kind):
    if name in NOT_CLAIMED[kind]:
        pytest.skip("not claimed")

    @settings(max_examples=2)
    @given(st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 3)), st.integers(0, 1000))
    def check(crystal, seed):
        CHECKS[name](encoder, crystal, CUTOFF, seed)

    encoder = small(kind).double()
    check()


def test_other_options_pass_suite():
    encoder = small(NequIP, l_max=2, parity=False, reduction="mean")
    check_encoder(encoder, random_crystal(2), skip=NOT_CLAIMED[NequIP])


@BOTH
def test_features_equal_model(kind):
    encoder = small(kind).double()
    batch = crystal_batch([random_crystal(0, 2), random_crystal(1, 3)], CUTOFF)
    graph = batch["graph"]
    theirs = encoder.model(
        {
            "pos": graph.pos,
            "cell": graph.cell,
            "edge_index": graph.edge_index,
            "edge_cell_shift": graph.images,
            "atom_types": encoder.elements(graph.atomic_numbers),
            "batch": graph.batch,
            "num_atoms": batch["natoms"],
        }
    )
    expected = theirs[encoder.field]
    if kind is Allegro:
        expected = torch.zeros(5, encoder.output_dim).double().index_add(0, graph.edge_index[0], expected)
    torch.testing.assert_close(encoder(batch).point_embedding, expected)


@BOTH
def test_torch_defaults_are_kept(kind):
    assert torch.get_default_dtype() == torch.float32
    encoder = small(kind)
    assert torch.get_default_dtype() == torch.float32
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    first, second = (next(kind(**SMALL).parameters()) for _ in range(2))
    assert not torch.equal(first, second), "Two models must differ, although nequip seeds torch"
    torch.testing.assert_close(next(small(kind).parameters()), next(encoder.parameters()))


@BOTH
def test_energy_trains_every_parameter(kind):
    encoder = small(kind).double()
    encoder(crystal_batch([random_crystal(0)], CUTOFF)).system_embedding.square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None] == []
    frozen = [n for n, p in encoder.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(encoder.readout in name for name in frozen)


@BOTH
def test_state_dict_and_model_are_loaded(tmp_path, kind):
    source = small(kind)
    torch.save(source.model.state_dict(), tmp_path / "weights.pt")
    batch = crystal_batch([random_crystal(0)], CUTOFF)
    expected = source.double()(batch).point_embedding
    torch.manual_seed(5)
    loaded = kind(**SMALL, weights=tmp_path / "weights.pt").double()
    for encoder in (loaded, kind.from_model(source.model)):
        assert torch.equal(encoder(batch).point_embedding, expected)
    other = Allegro if kind is NequIP else NequIP
    with pytest.raises(TypeError, match=f"{other.__name__} wraps a model with a {other.readout}"):
        other.from_model(source.model)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_conv": 0}, "num_conv must be at least 1, got 0"),
        ({"elements": []}, "elements is empty"),
        ({"reduction": "max"}, "reduction must be 'sum' or 'mean', got 'max'"),
    ],
)
def test_invalid_options_raise(kind, options, message):
    with pytest.raises(ValueError, match=message):
        small(kind, **options)
