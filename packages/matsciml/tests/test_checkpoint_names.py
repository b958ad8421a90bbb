import pytest
from matsciml.runs.checkpoint_names import prepare_names
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint


def test_slash_in_metric_name_is_replaced(tmp_path):
    callback = ModelCheckpoint(filename="{epoch}-{val/loss:.2f}")
    prepare_names([Callback(), callback], tmp_path)
    assert callback.format_checkpoint_name({"epoch": 3, "val/loss": 0.5}) == "epoch=3-val_loss=0.50.ckpt"


def test_name_without_slash_is_kept(tmp_path):
    callback = ModelCheckpoint(filename="{epoch}-{val_loss:.2f}")
    prepare_names([callback], tmp_path)
    assert callback.format_checkpoint_name({"epoch": 3, "val_loss": 0.5}) == "epoch=3-val_loss=0.50.ckpt"


@pytest.mark.parametrize("name", ["best", "last"])
def test_clash_with_run_raises(tmp_path, name):
    with pytest.raises(ValueError, match=f"would overwrite the run's own {name}.ckpt; pass another filename"):
        prepare_names([ModelCheckpoint(filename=name)], tmp_path)
    prepare_names([ModelCheckpoint(tmp_path / "elsewhere", filename=name)], tmp_path)


def test_save_last_is_renamed(tmp_path):
    callback = ModelCheckpoint(save_last=True)
    prepare_names([callback], tmp_path)
    assert callback.CHECKPOINT_NAME_LAST == "last-saved"
    assert ModelCheckpoint.CHECKPOINT_NAME_LAST == "last"
