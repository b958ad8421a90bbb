import pytest
from matsciml.runs.weight_averaging import check_averaging, without_averaging
from mml_diagnostics import ExponentialMovingAverageCallback
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging


class Late(WeightAveraging):
    def should_update(self, step_idx=None, epoch_idx=None):
        return step_idx is not None and step_idx > 5


def test_late_average_raises():
    with pytest.raises(ValueError, match="Late starts averaging after the first step"):
        check_averaging([Late()])


def test_early_averages_are_accepted():
    check_averaging([Callback(), WeightAveraging(), ExponentialMovingAverageCallback()])


def test_without_averaging_keeps_order():
    first, last = Callback(), Callback()
    averages = [WeightAveraging(), StochasticWeightAveraging(1e-2), ExponentialMovingAverageCallback()]
    assert without_averaging([first, *averages, last]) == [first, last]
