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


def test_same_model_returns_step(tmp_path):
    assert check_checkpoint(save(tmp_path / "a.ckpt", Net()), Net()) == 7


def test_later_parts_are_accepted(tmp_path):
    assert check_checkpoint(save(tmp_path / "a.ckpt", Net(extra=True)), Net()) == 7


@pytest.mark.parametrize(
    ("saved", "model", "message"),
    [
        (
            Net(width=4),
            Net(),
            r"encoder.weight has shape \(2, 4\) in the checkpoint and \(2, 3\) in",
        ),
        (Net(), Net(extra=True), r"the checkpoint lacks head.weight \(differences in total: 2\)"),
    ],
)
def test_other_model_raises(tmp_path, saved, model, message):
    with pytest.raises(ValueError, match=message):
        check_checkpoint(save(tmp_path / "a.ckpt", saved), model)


def test_other_file_raises(tmp_path):
    path = tmp_path / "a.ckpt"
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        check_checkpoint(path, Net())
    torch.save({"some": "dict"}, path)
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        check_checkpoint(path, Net())
