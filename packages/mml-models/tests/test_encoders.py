"""Properties of every encoder that does not wrap another library."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_models import EGNN, MEGNet, PaiNN, SchNet, TensorNet
from mml_models.testing import CHECKS, check_encoder, crystal_batch, random_crystal
from torch import nn
from torch._dynamo.utils import counters

CUTOFF = 4.0
crystals = st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 4))
SIZES = {
    EGNN: {"hidden_dim": 12, "num_gaussians": 8},
    MEGNet: {"hidden_dim": 8, "num_conv": 2, "num_gaussians": 8},
    PaiNN: {"hidden_dim": 10, "num_conv": 2, "num_radial": 6},
    SchNet: {"hidden_dim": 12, "num_gaussians": 8},
    TensorNet: {"hidden_dim": 10, "num_conv": 2, "num_gaussians": 6},
}
OPTIONS = [
    *((encoder, {"reduction": "mean"}) for encoder in SIZES),
    *((encoder, {"num_conv": 1}) for encoder in SIZES),
    (EGNN, {"update_coords": False}),
    (EGNN, {"activation": "Tanh"}),
    (MEGNet, {"reduction": "set2set"}),
    (PaiNN, {"num_conv": 3}),
]
COMPILED = {"compile", "compiled_second_derivatives"}  # slow, so they run on one example each, below
NOT_CLAIMED = {
    MEGNet: {"given_edges"},  # each atom depends on all atoms of its structure
    TensorNet: {"autocast"},  # errors of about 10 % in bfloat16, see its docstring
}
every_encoder = pytest.mark.parametrize("encoder", SIZES)


def small(encoder, **options):
    """Return a small encoder in float64, with large displacements in EGNN to detect errors in them."""
    torch.manual_seed(0)
    made = encoder(**{"output_dim": 6, "cutoff": CUTOFF, **SIZES[encoder], **options}).double()
    for name, parameter in made.named_parameters():
        if "displace.2" in name:
            nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize(
    ("encoder", "name"),
    [(x, name) for x in SIZES for name in CHECKS if name not in {*COMPILED, *NOT_CLAIMED.get(x, ())}],
)
def test_encoder_passes_check(encoder, name):
    @settings(max_examples=15)
    @given(crystals, st.integers(0, 1000))
    def check(crystal, seed):
        CHECKS[name](made, crystal, CUTOFF, seed)

    made = small(encoder)
    check()


@every_encoder
def test_initial_embeddings_depend_on_positions(encoder):
    """If every layer shrank the signal, the encoder would learn no forces."""
    torch.manual_seed(0)
    batch = crystal_batch([random_crystal(seed, 4) for seed in range(6)], 5.0)
    positions = batch["graph"].pos.requires_grad_()
    points = encoder().double()(batch).point_embedding
    (slope,) = torch.autograd.grad((points * torch.randn_like(points)).sum(), positions)
    assert slope.pow(2).mean().sqrt() > 0.02 * points.pow(2).mean().sqrt()


@pytest.mark.slow
@every_encoder
def test_compiled_encoder_equals_eager(encoder):
    CHECKS["compile"](small(encoder), random_crystal(2), CUTOFF, 0)


@pytest.mark.slow
@every_encoder
def test_compiled_gradients_equal_eager(encoder):
    """Use the fewest layers that run every kernel. The last layer of EGNN and PaiNN omits some parts."""
    layers = 2 if encoder in (EGNN, PaiNN) else 1
    CHECKS["compiled_second_derivatives"](small(encoder, num_conv=layers), random_crystal(2), CUTOFF, 0)


@pytest.mark.slow
@every_encoder
@pytest.mark.filterwarnings(r"ignore:The \.grad attribute of a Tensor that is not a leaf")
def test_compilation_stops_after_two_batch_sizes(encoder):
    """The first trace has fixed sizes, the second has dynamic sizes."""
    torch.compiler.reset()
    counters.clear()
    compiled = torch.compile(small(encoder), backend="aot_eager")
    graphs = []
    for count in range(1, 7):
        compiled(crystal_batch([random_crystal(seed, 2 + seed % 3) for seed in range(count)], CUTOFF))
        graphs.append(counters["stats"]["unique_graphs"])
    assert 0 < graphs[0] < graphs[1]
    assert len(set(graphs[1:])) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "options"), OPTIONS)
def test_other_options_pass_suite(encoder, options):
    check_encoder(
        small(encoder, **options), random_crystal(2), skip={*COMPILED, *NOT_CLAIMED.get(encoder, ())}
    )


@pytest.mark.parametrize(("encoder", "options"), [*((x, {}) for x in SIZES), *OPTIONS])
def test_loss_trains_every_parameter(encoder, options):
    made = small(encoder, **options)
    found = made(crystal_batch([random_crystal(0)], CUTOFF))
    (found.system_embedding.square().sum() + found.point_embedding.square().sum()).backward()
    unused = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def atom_outside(graph):
    graph.atomic_numbers[4] = 101


def edge_outside(graph):
    graph.edge_index[1, -1] = 5


def no_offsets(graph):
    del graph.offsets


def no_edge_index(graph):
    del graph.edge_index


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (atom_outside, r"Element 101 of sample 'b' is outside the encoder's range from 1 to 100\. Fix"),
        (
            edge_outside,
            r"Edge \d+ of sample 'b' joins atoms 4 and 5, but the atoms .* from 0 to 4",
        ),
        (no_offsets, r"periodic \(it has a cell\) but has no 'offsets', so distances"),
        (no_edge_index, r"has no 'edge_index'\. Add PeriodicPropertiesTransform before"),
    ],
)
@every_encoder
def test_invalid_graph_raises(encoder, fault, message):
    batch = crystal_batch([random_crystal(0, 2), random_crystal(1, 3)], CUTOFF)
    fault(batch["graph"])
    with pytest.raises(ValueError, match=message):
        small(encoder)({**batch, "sample_id": ["a", "b"]})


@every_encoder
def test_graph_of_other_library_raises(encoder):
    with pytest.raises(
        TypeError, match=r"The graph must be a PyG or DGL graph, got a builtins.dict\. Add Point"
    ):
        small(encoder)({"graph": {"nodes": [1, 2]}})


@every_encoder
def test_unlisted_element_raises(encoder):
    batch = crystal_batch(
        [random_crystal(0, 2, elements=(13,)), random_crystal(1, 3, elements=(79,))], CUTOFF
    )
    with pytest.raises(ValueError, match=r"Element 79 of sample 1 of the batch is not one of .* \[13, 29\]"):
        small(encoder, elements=[13, 29])(batch)


@pytest.mark.parametrize("name", ["hidden_dim", "output_dim", "num_conv", "num_atom_embedding"])
@pytest.mark.parametrize("value", [0, -3])
@every_encoder
def test_invalid_size_raises(encoder, name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
        small(encoder, **{name: value})


@every_encoder
def test_radius_below_cutoff_raises(encoder):
    with pytest.raises(ValueError, match=r"edges up to 3 angstrom, but the encoder's cutoff is 4"):
        small(encoder)(crystal_batch([random_crystal(0)], 3.0))
