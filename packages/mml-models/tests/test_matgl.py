from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models import QET, CHGNet, M3GNet
from mml_models.optional import import_library, is_installed
from mml_models.testing import CHECKS, crystal_batch, random_crystal

pytestmark = pytest.mark.skipif(not is_installed("matgl"), reason="mml-models[matgl] is not installed")

CUTOFF = 4.0
SMALL = {"hidden_dim": 8, "num_conv": 2, "cutoff": CUTOFF, "elements": [13, 29, 79]}
ANGLES = {"threebody_cutoff": 3.5}
OPTIONS = {M3GNet: {**SMALL, **ANGLES}, CHGNet: {**SMALL, **ANGLES}, QET: SMALL}
# Forces of CHGNet jump at the cutoff, and atoms of QET depend on their whole structure.
NOT_CLAIMED = {(CHGNet, "cutoff"), (QET, "given_edges")}
EACH = pytest.mark.parametrize("kind", OPTIONS)
FEATURES = {
    M3GNet: lambda found: found["gc_2"]["node_feat"],
    CHGNet: lambda found: found["gc_2"]["atom_feat"],
    QET: lambda found: found["node_feat"],
}


def small(kind, **options):
    torch.manual_seed(0)
    return kind(**{**OPTIONS[kind], **options})


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in CHECKS for kind in OPTIONS if (kind, name) not in NOT_CLAIMED]
)
def test_adapter_passes_check(name, kind):
    if name == "compiled_second_derivatives":  # slow, and the force on a single atom is zero
        CHECKS[name](small(kind).double(), random_crystal(2), CUTOFF, 0)
        return

    @settings(max_examples=1 if name == "compile" else 2)
    @given(st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 3)), st.integers(0, 1000))
    def check(crystal, seed):
        CHECKS[name](encoder, crystal, CUTOFF, seed)

    encoder = small(kind).double()
    check()


@EACH
def test_features_equal_model(kind):
    encoder = small(kind).double()
    batch = crystal_batch([random_crystal(0, 2), random_crystal(1, 3)], CUTOFF)
    graph = batch["graph"]
    # The convention of matgl: center and neighbor, and lattice translations of the neighbor.
    theirs = SimpleNamespace(
        pos=graph.pos,
        edge_index=graph.edge_index,
        pbc_offshift=graph.offsets,
        pbc_offset=graph.images,
        node_type=encoder.elements(graph.atomic_numbers),
        batch=graph.batch,
        num_graphs=2,
    )
    found = encoder(batch).point_embedding
    encoder.model(theirs)
    torch.testing.assert_close(found, FEATURES[kind](encoder.model.feature_dict))


@EACH
def test_edge_order_does_not_matter(kind):
    encoder = small(kind).double()
    batch = crystal_batch([random_crystal(0)], CUTOFF)
    expected = encoder(batch).point_embedding
    graph = batch["graph"]
    order = torch.randperm(graph.edge_index.shape[1], generator=torch.Generator().manual_seed(0))
    graph.edge_index, graph.offsets = graph.edge_index[:, order], graph.offsets[order]
    torch.testing.assert_close(encoder(batch).point_embedding, expected)


@EACH
def test_energy_trains_every_parameter(kind):
    encoder = small(kind, num_conv=3).double()
    encoder(crystal_batch([random_crystal(0)], CUTOFF)).system_embedding.square().sum().backward()
    unused = [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []
    assert any(not p.requires_grad for p in encoder.parameters())


@EACH
@pytest.mark.parametrize("potential", [False, True])
def test_saved_model_is_loaded(tmp_path, kind, potential):
    source = small(kind)
    saved = import_library("matgl.apps.pes", "test").Potential(source.model) if potential else source.model
    saved.save(tmp_path / "saved")
    torch.save(source.model.state_dict(), tmp_path / "weights.pt")
    batch = crystal_batch([random_crystal(0)], CUTOFF)
    expected = source.double()(batch).point_embedding
    torch.manual_seed(5)
    loaded = kind.from_file(tmp_path / "saved").double()
    weighted = kind(**OPTIONS[kind], weights=tmp_path / "weights.pt").double()
    for encoder in (loaded, weighted, kind.from_model(source.model)):
        assert torch.equal(encoder(batch).point_embedding, expected)
    other = CHGNet if kind is M3GNet else M3GNet
    with pytest.raises(TypeError, match=f"{other.__name__} wraps a {other.__name__} of matgl, got a"):
        other.from_model(source.model)
    if not potential:
        with pytest.raises(
            ValueError, match=f"saved must contain a {other.__name__} of matgl, got a {kind.__name__}"
        ):
            other.from_file(tmp_path / "saved")


def test_other_folder_raises(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has no model\.pt, state\.pt\. Pass a folder"):
        M3GNet.from_file(tmp_path)


@EACH
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
