import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.testing import assert_same_edges, crystals
from mml_graphs.transforms import COMShift
from pymatgen.core import Element

quick = settings(max_examples=30)


@given(crystal=crystals(), data=st.data())
@pytest.mark.parametrize("mass_key", ["atomic_numbers", "weights", None])
@quick
def test_center_of_mass_becomes_origin(library, edge_vectors, mass_key, crystal, data):
    num_atoms = len(crystal.positions)
    numbers = np.array(data.draw(st.lists(st.integers(1, 118), min_size=num_atoms, max_size=num_atoms)))
    weights = np.array(data.draw(st.lists(st.floats(0.5, 9), min_size=num_atoms, max_size=num_atoms)))
    sample = crystal.sample(weights=weights) | {"atomic_numbers": numbers}
    sample = PeriodicPropertiesTransform(4.0, on_isolated="allow")(sample)
    cloud = COMShift(mass_key=mass_key)(sample)
    before = sample["pos"].clone()
    sample = PointCloudToGraphTransform(library, node_keys=["weights"])(sample)
    shifted = COMShift(mass_key=mass_key)(sample)
    if mass_key == "atomic_numbers":
        masses = np.array([float(Element.from_Z(number).atomic_mass) for number in numbers])
    else:
        masses = weights if mass_key else np.ones(num_atoms)
    for pos in (cloud["pos"], shifted["pos"], take_apart(shifted["graph"]).nodes["pos"]):
        center = masses @ pos.numpy() / masses.sum()
        assert np.abs(center).max() < 1e-5 * max(1.0, np.abs(crystal.positions).max())
    assert torch.equal(sample["pos"], before)
    assert torch.equal(take_apart(sample["graph"]).nodes["pos"], before)
    torch.testing.assert_close(edge_vectors(shifted), edge_vectors(sample), rtol=1e-5, atol=2e-5)
    # The same edges are found again; 4.01 because no distance on the grid of the crystals is that near to it.
    again = PeriodicPropertiesTransform(4.01, on_isolated="allow")
    assert_same_edges(again(cloud), again(sample), atol=1e-4)


def test_only_named_positions_move():
    sample = {
        "atomic_numbers": [1, 1],
        "pos": torch.tensor([[0.0, 0, 0], [1, 0, 0]]),
        "relaxed": np.array([[0.0, 0, 0], [2, 0, 0]]),
    }
    shifted = COMShift(pos_key="relaxed")(sample)
    assert shifted["relaxed"].tolist() == [[-1, 0, 0], [1, 0, 0]]
    assert shifted["relaxed"].dtype == torch.float64
    assert shifted["pos"] is sample["pos"]
    assert sample["relaxed"][1, 0] == 2


@pytest.mark.parametrize(
    ("extra", "options", "message"),
    [
        ({"atomic_numbers": [1, 119]}, {}, "'atomic_numbers' of atom 1 is 119, expected 1 to 118"),
        ({"atomic_numbers": [1.0, 2.0]}, {}, "dtype torch.float64, expected [N] integers"),
        ({"atomic_numbers": [1]}, {}, "'atomic_numbers' has shape [1], expected [2]"),
        ({}, {"mass_key": "charge"}, "'charge' is missing beside 'pos'. Add it, or pass mass_key=None"),
        (
            {"m": [1, -1]},
            {"mass_key": "m"},
            "masses must be finite, not negative, and not all zero, got [1.0, -1.0]",
        ),
        ({"m": ["a", "b"]}, {"mass_key": "m"}, "'m' is of type list with dtype <U1, expected numbers"),
        ({}, {"pos_key": "relaxed"}, "'relaxed' is missing"),
        ({"pos": [[0, 0, 0], [0, np.inf, 0]]}, {}, "'pos' of atom 1 is not finite: [0.0, inf, 0.0]"),
        ({"pos": [[0, 0], [1, 1]]}, {}, "'pos' has shape [2, 2], expected [N, 3]"),
        ({"graph": "g"}, {}, "'graph' is of type str, expected"),
    ],
)
def test_bad_samples_raise(extra, options, message):
    sample = {"atomic_numbers": [1, 8], "pos": [[0, 0, 0], [1, 0, 0]], "sample_id": 7, **extra}
    with pytest.raises(ValueError, match="^sample 7: .*" + re.escape(message)):
        COMShift(**options)(sample)


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="pos_key must be the name of a key, got ''"):
        COMShift("")
