import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.batches.collate import collate_samples
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.testing import brute_force_edges, crystals
from mml_graphs.transforms import GraphVariablesTransform

quick = settings(max_examples=30)
MASS = {1: 1.008, 8: 15.999, 29: 63.546}


@given(crystal=crystals(min_length=3.0), data=st.data())
@quick
def test_features_equal_definition(library, crystal, data):
    num_atoms = len(crystal.positions)
    numbers = np.array(
        data.draw(st.lists(st.sampled_from([1, 8, 29]), min_size=num_atoms, max_size=num_atoms))
    )
    tags = np.array(data.draw(st.lists(st.integers(0, 2), min_size=num_atoms, max_size=num_atoms)))
    sample = crystal.sample(tags=torch.tensor(tags)) | {"atomic_numbers": numbers}
    sample = PeriodicPropertiesTransform(4.0, on_isolated="allow")(sample)
    node_keys = data.draw(st.sampled_from([(), ("tags",)]))
    sample = PointCloudToGraphTransform(library, node_keys=node_keys)(sample)
    result = GraphVariablesTransform()(sample)["graph_variables"]

    masses = np.array([MASS[number] for number in numbers])
    src, dst = sample["src_nodes"].numpy(), sample["dst_nodes"].numpy()
    reduced = masses[src] * masses[dst] / (masses[src] + masses[dst])
    groups = (numbers[tags == 2], numbers[tags != 2], sample["distances"].numpy(), reduced)
    expected = []
    for values in groups:
        expected.append(values.mean() if len(values) else 0)
        expected.append(values.std(ddof=1) if len(values) > 1 else 0)
    separation = 0.0
    if 0 < (tags == 2).sum() < num_atoms:
        centers = np.array(
            [
                np.average(crystal.positions[part], axis=0, weights=masses[part])
                for part in (tags == 2, tags != 2)
            ]
        )
        reach = np.linalg.norm(centers[1] - centers[0]) + 1e-6
        edges = brute_force_edges(centers, crystal.cell, crystal.pbc, reach)
        separation = edges.distances[edges.src != edges.dst].min()
    np.testing.assert_allclose(result, [[*expected, separation]], rtol=1e-3, atol=1e-3)
    assert result.dtype == torch.get_default_dtype()
    assert "graph_variables" not in sample
    assert collate_samples([{"graph_variables": result}] * 3)["graph_variables"].shape == (3, 9)


def test_features_without_tags_are_finite(library):
    sample = PointCloudToGraphTransform(library)({"atomic_numbers": [8], "pos": [[0.0, 0, 0]]})
    assert GraphVariablesTransform()(sample)["graph_variables"].tolist() == [[8.0, *[0.0] * 8]]


@pytest.mark.parametrize(
    ("sample", "message"),
    [({}, "'graph' is missing. Apply"), ({"graph": None}, "'graph' is of type NoneType")],
)
def test_bad_samples_raise(sample, message):
    with pytest.raises(ValueError, match="^sample 'x': .*" + re.escape(message)):
        GraphVariablesTransform()(sample | {"sample_id": "x"})
