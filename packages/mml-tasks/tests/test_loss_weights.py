from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_tasks import LinearScalingSchedule, LossScalingScheduler, SoftAdapt, UncertaintyWeighting
from torch import nn
from torch.utils.data import DataLoader

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def scheduler(*keys: str) -> LossScalingScheduler:
    return LossScalingScheduler(*(LinearScalingSchedule(key, 1.0, 2.0) for key in keys))


class Plain(pl.LightningModule):
    """Module without loss weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(batch.view(-1, 1)).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("callback", [scheduler("energy"), SoftAdapt(), UncertaintyWeighting(["energy"])])
def test_module_without_weights_is_refused(make_trainer, callback):
    with pytest.raises(TypeError, match=r"sets loss weights, but Plain has no dict task_loss_scaling"):
        make_trainer(callbacks=[callback]).fit(Plain(), DataLoader(torch.ones(2)))


@pytest.mark.parametrize(
    "callback",
    [
        scheduler("energy", "forces"),
        SoftAdapt(["energy", "forces"]),
        UncertaintyWeighting(["energy", "forces"]),
    ],
)
def test_unknown_target_is_refused(tiny, make_trainer, callback):
    message = r"weights for \['forces'\], which are not targets of TinyModule, .* \['energy', 'force'\]"
    with pytest.raises(ValueError, match=message):
        callback.setup(make_trainer(), tiny(), "fit")
    with pytest.raises(ValueError, match=message):
        make_trainer(callbacks=[callback]).fit(tiny(), DataLoader(torch.ones(2)))


def test_inferred_targets_are_accepted(tiny, make_trainer):
    class Late(tiny):
        def __init__(self) -> None:
            super().__init__()
            self.task_loss_scaling = {}

        def setup(self, stage: str) -> None:
            self.task_loss_scaling = {"energy": 1.0, "force": 1.0}

    module = Late()
    make_trainer(max_epochs=2, callbacks=[scheduler("force")]).fit(module, DataLoader(torch.ones(1)))
    assert [weights["force"] for _, weights in module.seen] == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"weights for \['forces'\]"):
        make_trainer(callbacks=[scheduler("forces")]).fit(Late(), DataLoader(torch.ones(1)))


@pytest.mark.parametrize(
    "others",
    [
        [scheduler("energy"), scheduler("force", "energy")],
        [scheduler("energy"), SoftAdapt()],
        [SoftAdapt(["energy", "force"]), UncertaintyWeighting(["energy"])],
    ],
)
def test_weight_has_one_callback(tiny, make_trainer, others):
    with pytest.raises(
        ValueError, match=r"both \w+ and \w+ set the loss weights of \['energy'.*\. Use one callback"
    ):
        make_trainer(callbacks=others).fit(tiny(), DataLoader(torch.ones(2)))


def test_weights_may_have_different_callbacks(tiny, make_trainer):
    module = tiny()
    make_trainer(max_epochs=2, callbacks=[scheduler("energy"), scheduler("force")]).fit(
        module, DataLoader(torch.ones(1))
    )
    assert module.task_loss_scaling == {"energy": 2.0, "force": 2.0}


@pytest.mark.parametrize("method", ["validate", "predict"])
def test_validation_changes_nothing(make_trainer, method):
    class Step(Plain):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            pass

        predict_step = validation_step

    callbacks = [scheduler("energy"), SoftAdapt(["energy", "force"]), UncertaintyWeighting(["stress"])]
    getattr(make_trainer(callbacks=callbacks), method)(Step(), DataLoader(torch.ones(2)))
