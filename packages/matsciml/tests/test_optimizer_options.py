import pytest
import torch
from matsciml.runs.optimizer_options import check_optimizer, configure_optimizers
from pytorch_lightning import LightningModule

ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}
STEP = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "options", "given", "message"),
    [
        (None, STEP, {}, [], r"--lr_scheduler StepLR has no effect without --optimizer; pass both"),
        (None, STEP, {}, [], r"scheduler_kwargs '\{StepLR: \{\}\}'"),
        (ADAM, None, {"scheduler_kwargs": {"StepLR": {}}}, [], "add --model.init_args.scheduler_kwargs null"),
        (ADAM, None, {"weight_decay": 0.1}, [], "add --model.init_args.weight_decay 0"),
        (ADAM, None, {"lr_scaling": "sqrt"}, [], "add --model.init_args.lr_scaling null"),
        (ADAM, None, {"lr": 0.1}, ["model.init_args.lr"], "pass --optimizer.lr, or remove --optimizer"),
        (ADAM, None, {"lr": 0.1}, ["model.lr"], "pass --optimizer.lr, or remove --optimizer"),
    ],
)
def test_ignored_option_raises(optimizer, scheduler, options, given, message):
    config = {"optimizer": optimizer, "lr_scheduler": scheduler, "model": {"init_args": options}}
    with pytest.raises(ValueError, match=message):
        check_optimizer(config, given)


def test_unused_learning_rate_is_reported():
    config = {"optimizer": ADAM, "model": {"init_args": {"lr": 0.002}}}
    assert (
        check_optimizer(config, [])
        == "lr 0.002 of the model is ignored, because --optimizer is torch.optim.Adam"
    )
    assert check_optimizer({"model": {"init_args": {"lr": 0.002}}}, ["model.init_args.lr"]) is None


def test_optimizer_receives_parameters_that_require_gradients():
    class Net(LightningModule):
        def __init__(self):
            super().__init__()
            self.used, self.frozen = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1).requires_grad_(False)

    net = Net()
    (optimizer,), (scheduler,) = configure_optimizers(net, ADAM, STEP)
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {
        id(p) for p in net.used.parameters()
    }
    assert isinstance(scheduler, torch.optim.lr_scheduler.StepLR)
    assert isinstance(configure_optimizers(net, ADAM, None), torch.optim.Adam)
