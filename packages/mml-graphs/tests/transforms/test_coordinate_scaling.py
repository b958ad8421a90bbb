import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.graph import GraphToPointCloudTransform, PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.testing import assert_same_edges, crystals
from mml_graphs.transforms import CoordinateScaling
from pymatgen.core import Lattice, Structure

quick = settings(max_examples=25)
BOHR = 1 / 0.529177210544  # per angstrom, CODATA 2022


@given(crystal=crystals(), factor=st.sampled_from([2.0, 0.25]))
@quick
def test_lengths_scale(library, edge_vectors, crystal, factor):
    sample = PeriodicPropertiesTransform(4.0, on_isolated="allow")(crystal.sample())
    with_graph = PointCloudToGraphTransform(library, edge_keys=["unit_offsets"])(sample)
    scaled = CoordinateScaling(factor)(with_graph)
    # The scaled structure, searched with the scaled cutoff, has the scaled edges: powers of two are exact.
    crystal = crystal._replace(positions=crystal.positions * factor, cell=crystal.cell * factor)
    expected = PeriodicPropertiesTransform(4.0 * factor, on_isolated="allow")(crystal.sample())
    assert scaled["cutoff_radius"] == expected["cutoff_radius"]
    for result in (scaled, GraphToPointCloudTransform(library)(scaled)):
        assert_same_edges(result, expected, atol=1e-5)
        for key in ("pos", "cell", "offsets", "distances"):
            torch.testing.assert_close(result[key], expected[key], msg=key)
        assert torch.equal(result["unit_offsets"], sample["unit_offsets"])
    torch.testing.assert_close(edge_vectors(scaled).norm(dim=1), expected["distances"])
    torch.testing.assert_close(take_apart(with_graph["graph"]).nodes["pos"], sample["pos"])


def test_structures_and_lattice_parameters_scale():
    structure = Structure(Lattice.cubic(3.0), ["Fe"], [[0.5, 0.5, 0.5]])
    scaled = CoordinateScaling(BOHR)({"structure": structure})
    np.testing.assert_allclose(scaled["pos"], structure.cart_coords * BOHR)
    np.testing.assert_allclose(scaled["cell"][0], structure.lattice.matrix * BOHR)
    again = PeriodicPropertiesTransform(3.0 * BOHR + 1e-6)(scaled)
    assert len(again["src_nodes"]) == 6

    sample = {
        "frac_coords": [[0.0, 0, 0]],
        "atomic_numbers": [3],
        "lattice_params": [1.0, 2, 3, 1.5, 1.6, 1.7],
    }
    scaled = CoordinateScaling(2.0)(sample)
    assert scaled["lattice_params"].tolist() == [2, 4, 6, 1.5, 1.6, 1.7]
    assert scaled["frac_coords"] == sample["frac_coords"]
    nested = CoordinateScaling(2.0)(sample | {"lattice_features": {"lattice_params": [1.0] * 6, "name": "a"}})
    assert nested["lattice_features"]["lattice_params"].tolist() == [2, 2, 2, 1, 1, 1]
    assert nested["lattice_features"]["name"] == "a"


def test_another_key_scales_alone(library):
    sample = {"atomic_numbers": [1], "pos": torch.ones(1, 3), "charge": torch.ones(1), "cutoff_radius": 3.0}
    scaled = CoordinateScaling(3, key="charge")(sample)
    assert scaled["charge"].tolist() == [3]
    assert scaled["pos"] is sample["pos"]
    graph = PointCloudToGraphTransform(library, node_keys=["charge"])(sample)
    scaled = CoordinateScaling(3, key="charge")(graph)
    assert take_apart(scaled["graph"]).nodes["charge"].tolist() == [3] == scaled["charge"].tolist()
    assert take_apart(scaled["graph"]).nodes["pos"].tolist() == [[1, 1, 1]]
    assert sample["charge"].tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), "value must be a positive number, got 0.0"),
        ((-1.0,), "value must be a positive number, got -1.0"),
        ((float("nan"),), "value must be a finite number, got nan"),
        (("2",), "value must be a finite number, got '2'"),
        ((2.0, 3), "key must be the name of a key, got 3"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        CoordinateScaling(*arguments)


@pytest.mark.parametrize(
    ("sample", "key", "message"),
    [
        ({}, "pos", "'pos' is missing"),
        (
            {"pos": torch.ones(1, 3)},
            "charge",
            "'charge' is missing in the sample and in its graph",
        ),
        ({"pos": "here"}, "pos", "'pos' is of type str with dtype"),
        (
            {"pos": torch.ones(1, 3), "lattice_params": [1.0]},
            "pos",
            "'lattice_params' has shape [1], expected [6]",
        ),
        ({"graph": {}}, "pos", "'graph' is of type dict"),
    ],
)
def test_bad_samples_raise(sample, key, message):
    with pytest.raises(ValueError, match="^sample 'x': .*" + re.escape(message)):
        CoordinateScaling(2.0, key)(sample | {"sample_id": "x"})
