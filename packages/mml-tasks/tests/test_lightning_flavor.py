import sys
from types import ModuleType

import pytest
import pytorch_lightning
from mml_tasks import ForceRegressionTask
from mml_tasks.testing import ToyEncoder


class OtherTrainer:
    """Trainer of the other package, which need not be installed."""


OtherTrainer.__module__ = "lightning.pytorch.trainer.trainer"


@pytest.fixture
def script(monkeypatch):
    """Return the global names of the running script."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return vars(module)


def test_other_lightning_is_warned_about(script):
    script["Trainer"] = OtherTrainer
    with pytest.warns(UserWarning, match=r"uses lightning\.pytorch \(Trainer\), .* ForceRegressionTask"):
        ForceRegressionTask(ToyEncoder())


def test_script_with_both_packages_is_accepted(script):
    script |= {"Trainer": OtherTrainer, "pl": pytorch_lightning}
    ForceRegressionTask(ToyEncoder())


def test_script_without_lightning_is_accepted(script):
    ForceRegressionTask(ToyEncoder())
