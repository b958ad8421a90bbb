import pytest
import torch
from matsciml.runs.checkpoints import check_checkpoint
from pytorch_lightning import LightningModule


class Net(LightningModule):
    def __init__(self, width=3, extra=False):
        super().__init__()
        self.encoder = torch.nn.Linear(width, 2)
        if extra:
            self.head = torch.nn.Linear(2, 1)


def save(path, module):
    torch.save({"state_dict": module.state_dict(), "global_step": 7}, path)
    return path


def test_the_same_model_is_accepted_and_its_step_returned(tmp_path):
    assert check_checkpoint(save(tmp_path / "a.ckpt", Net()), Net()) == 7


def test_parts_that_a_model_builds_later_may_be_in_the_checkpoint(tmp_path):
    assert check_checkpoint(save(tmp_path / "a.ckpt", Net(extra=True)), Net()) == 7


@pytest.mark.parametrize(
    ("saved", "model", "message"),
    [
        (Net(width=4), Net(), r"encoder.weight has shape \(2, 4\) there and \(2, 3\) in the model"),
        (Net(), Net(extra=True), r"it lacks head.weight \(and 1 more differences\)"),
    ],
)
def test_another_model_is_refused(tmp_path, saved, model, message):
    with pytest.raises(ValueError, match=message):
        check_checkpoint(save(tmp_path / "a.ckpt", saved), model)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="not a checkpoint that can be read"):
        check_checkpoint(path, Net())
    torch.save({"some": "dict"}, path)
    with pytest.raises(ValueError, match="not a checkpoint that can be read"):
        check_checkpoint(path, Net())
