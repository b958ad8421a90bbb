import re

import pytest
import torch
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.transforms import ScaleRegressionTargets

SAMPLE = {
    "atomic_numbers": [1, 1],
    "pos": [[0.0, 0, 0], [1, 0, 0]],
    "targets": {"energy": -2.0, "force": torch.ones(2, 3), "count": 3, "metal": 1},
    "target_types": {"regression": ["energy", "force"], "classification": ["metal"]},
    "sample_id": "h2",
}


def test_factors_scale_targets():
    scaled = ScaleRegressionTargets(2.0)(SAMPLE)["targets"]
    assert (scaled["energy"], scaled["metal"], scaled["count"]) == (-4.0, 1, 3)
    assert torch.equal(scaled["force"], torch.full((2, 3), 2.0))
    scaled = ScaleRegressionTargets(2.0, {"energy": 10.0})(SAMPLE)["targets"]
    assert (scaled["energy"], scaled["force"][0, 0]) == (-20.0, 2.0)
    scaled = ScaleRegressionTargets(values={"force": -1})(SAMPLE)["targets"]
    assert (scaled["energy"], scaled["force"][0, 0]) == (-2.0, -1.0)
    assert SAMPLE["targets"]["energy"] == -2.0
    assert torch.equal(SAMPLE["targets"]["force"], torch.ones(2, 3))


def test_the_graph_follows(library):
    sample = PointCloudToGraphTransform(library, node_keys=["force"])(SAMPLE)
    scaled = ScaleRegressionTargets(0.5)(sample)
    assert take_apart(scaled["graph"]).nodes["force"].unique().tolist() == [0.5]
    assert take_apart(sample["graph"]).nodes["force"].unique().tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "value or values must be set"),
        ((0,), "value must not be 0, which would erase the labels"),
        ((None, {"energy": float("inf")}), "values['energy'] must be a finite number, got inf"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ScaleRegressionTargets(*arguments)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"target_types": {}}, "'target_types' must contain the regression targets"),
        (
            {"target_types": {"regression": ["gap", "energi"]}},
            "'gap' of 'target_types' is missing in 'targets'",
        ),
        (
            {"target_types": {"regression": ["force"]}},
            "values contains 'energi', which is not among the regression targets",
        ),
        (
            {"targets": {"energi": "low"}, "target_types": {"regression": ["energi"]}},
            "'targets.energi' is of type str with dtype",
        ),
    ],
)
def test_bad_samples_raise(extra, message):
    with pytest.raises(ValueError, match="^sample 'h2': " + re.escape(message)):
        ScaleRegressionTargets(1.0, {"energi": 2.0})({**SAMPLE, **extra})
