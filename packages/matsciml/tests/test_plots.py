from xml.etree import ElementTree

import numpy as np
import pytest
from matsciml.report.metrics import Classification, Regression
from matsciml.report.plots import figures, learning_curves, read_metrics


def test_metrics_are_read_as_series(tmp_path):
    path = tmp_path / "metrics.csv"
    assert read_metrics(path) == {}
    path.write_text("epoch,step,train_loss,val_loss\n0,9,1.0,\n0,9,,0.5\n1,19,0.25,\n")
    assert read_metrics(path) == {"train_loss": [(9.0, 1.0), (19.0, 0.25)], "val_loss": [(9.0, 0.5)]}


@pytest.mark.parametrize("value", [0.5, 0.0, -1.0])
def test_curves_are_valid_svg(value):
    series = {"train_loss": [(1.0, value), (2.0, 0.25)], "val_force_mae": [(2.0, 0.1)]}
    assert ElementTree.fromstring(learning_curves(series)).tag.endswith("svg")


def test_figures_are_named_after_quantities():
    numbers, classes = np.array([0.0, 1.0]), np.array([0, 1])
    quantities = [
        Regression("energy", "eV", numbers, numbers, 0.5),
        Classification("kind", classes, classes, 0),
    ]
    drawn = figures(quantities)
    assert list(drawn) == ["energy", "kind"]
    for text in drawn.values():
        ElementTree.fromstring(text)
