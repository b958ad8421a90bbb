import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.batches.collate import collate_samples
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.testing import crystals
from mml_graphs.transforms import NoisyPositions

quick = settings(max_examples=25)
WATER = {
    "atomic_numbers": [8, 1, 1],
    "pos": [[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]],
    "sample_id": "water",
}
LARGE = {"atomic_numbers": np.ones(4000, dtype=int), "pos": np.zeros((4000, 3))}


@given(crystal=crystals(), scale=st.sampled_from([1e-3, 0.1]), normalize=st.booleans())
@quick
def test_noise_becomes_the_target(library, edge_vectors, crystal, scale, normalize):
    sample = PeriodicPropertiesTransform(4.0, on_isolated="allow")(crystal.sample(targets={"energy": 1.0}))
    sample = PointCloudToGraphTransform(library)(sample)
    noisy = NoisyPositions(scale, normalize)(sample)
    data = take_apart(noisy["graph"])
    noise = noisy["targets"]["denoise"] * (scale if normalize else 1)
    assert noise.dtype == torch.float64
    noise = noise.to(data.nodes["pos"].dtype)
    torch.testing.assert_close(data.nodes["noisy_pos"], data.nodes["pos"] + noise)
    assert torch.equal(noisy["noisy_pos"], data.nodes["noisy_pos"])
    assert torch.equal(data.nodes["pos"], sample["pos"])
    # An edge vector changes by the difference of the noise of its ends: its image stays.
    change = edge_vectors(noisy, "noisy_pos") - edge_vectors(noisy)
    torch.testing.assert_close(change, noise[data.dst] - noise[data.src], atol=1e-4, rtol=0)
    assert torch.equal(data.edges["distances"], sample["distances"])
    assert noisy["target_types"] == {"pretraining": ["denoise"]}
    assert noisy["targets"]["energy"] == 1.0
    assert "denoise" not in sample["targets"]
    assert "noisy_pos" not in take_apart(sample["graph"]).nodes
    assert collate_samples([noisy, noisy])["targets"]["denoise"].shape == (2 * len(noise), 3)


@pytest.mark.parametrize("normalize", [False, True])
def test_noise_is_gaussian(normalize):
    noisy = NoisyPositions(0.2, normalize, seed=4)(LARGE)
    target = noisy["targets"]["denoise"] / (1 if normalize else 0.2)
    assert abs(target.mean()) < 0.03
    assert abs(target.std() - 1) < 0.03
    assert abs((target**4).mean() - 3) < 0.2
    torch.testing.assert_close(noisy["noisy_pos"], (target * 0.2).float())


def test_before_and_after_the_graph(library):
    before = PointCloudToGraphTransform(library, node_keys=["noisy_pos"])(NoisyPositions(0.1, seed=1)(WATER))
    after = NoisyPositions(0.1, seed=1)(PointCloudToGraphTransform(library)(WATER))
    for sample in (before, after):
        data = take_apart(sample["graph"])
        torch.testing.assert_close(
            data.nodes["noisy_pos"] - data.nodes["pos"], sample["targets"]["denoise"].to(torch.float32)
        )


def test_target_types_are_not_shared():
    types = {"regression": ["energy"], "pretraining": ["other"]}
    first = NoisyPositions()({**WATER, "target_types": types})
    second = NoisyPositions()(first)
    assert first["target_types"] == {"regression": ["energy"], "pretraining": ["other", "denoise"]}
    assert second["target_types"] == first["target_types"]
    assert types["pretraining"] == ["other"]


def test_seed_and_sample_determine_noise():
    transform = NoisyPositions(seed=7)
    state = torch.get_rng_state()
    once, again = transform(WATER)["noisy_pos"], NoisyPositions(seed=7)(WATER)["noisy_pos"]
    assert torch.equal(once, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(NoisyPositions(seed=8)(WATER)["noisy_pos"], once)
    other = transform({**WATER, "pos": [[0.0, 0, 0.1], [0.76, 0.59, 0], [-0.76, 0.59, 0]]})
    assert not torch.isclose(other["targets"]["denoise"], transform(WATER)["targets"]["denoise"]).any()


def test_without_a_seed_torch_decides():
    torch.manual_seed(0)
    first, second = NoisyPositions()(WATER)["noisy_pos"], NoisyPositions()(WATER)["noisy_pos"]
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(NoisyPositions()(WATER)["noisy_pos"], first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "scale must be a positive number, got 0.0"),
        ({"scale": -1}, "scale must be a positive number, got -1"),
        ({"seed": 1.5}, "seed must be None or a non-negative integer, got 1.5"),
        ({"seed": True}, "seed must be None or a non-negative integer, got True"),
    ],
)
def test_bad_arguments_raise(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        NoisyPositions(**options)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"pos": [[np.nan, 0, 0]]}, "'pos' of atom 0 is not finite"),
        ({"pos": np.zeros((0, 3))}, "'pos' has shape [0, 3], expected [N, 3] with at least one atom"),
        ({"pos": [[1, 2], [3]]}, "'pos' is not an array of numbers"),
        ({"graph": 1.0}, "'graph' is of type float"),
    ],
)
def test_bad_samples_raise(extra, message):
    with pytest.raises(ValueError, match="^sample 'water': " + re.escape(message)):
        NoisyPositions()({**WATER, **extra})
