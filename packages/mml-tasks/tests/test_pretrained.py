import logging

import pytest
import torch
from mml_tasks import EncoderReport, ForceRegressionTask, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder


@pytest.fixture
def checkpoint(data, make_trainer, tmp_path):
    """Return the checkpoint of a force task that was created with ``encoder_class``."""
    torch.manual_seed(0)
    task = ForceRegressionTask(encoder_class=ToyEncoder, encoder_kwargs={"output_dim": 6}, lr=0.01)
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "force.ckpt")
    return tmp_path / "force.ckpt", task


def assert_same_weights(one, other):
    for (name, value), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(value, theirs), name


def test_checkpoint_builds_encoder(checkpoint, caplog):
    path, trained = checkpoint
    with caplog.at_level(logging.INFO, "mml_tasks"):
        task = ScalarRegressionTask.from_pretrained_encoder(path, task_keys=["band_gap"], lr=0.5)
    assert_same_weights(task.encoder, trained.encoder)
    assert task.encoder.output_dim == 6
    assert task.lr == 0.5
    assert task.pretrained_report.complete
    assert task.pretrained_report.loaded == tuple(trained.encoder.state_dict())
    count = len(trained.encoder.state_dict())
    assert f"encoder weights from {path}: {count} loaded" in caplog.text


def test_frozen_weights_do_not_change(checkpoint, data, make_trainer):
    path, trained = checkpoint
    for freeze in (False, True):
        task = ScalarRegressionTask.from_pretrained_encoder(
            path, task_keys=["band_gap"], lr=0.1, freeze_encoder=freeze
        )
        head = task.output_heads["band_gap"].layers[0].weight.clone()
        make_trainer().fit(task, data)
        same = torch.equal(task.encoder.filter.weight, trained.encoder.filter.weight)
        assert same == freeze
        assert not task.encoder.training or not freeze
        assert not torch.equal(task.output_heads["band_gap"].layers[0].weight, head)


def test_encoder_instance_is_filled(data, make_trainer, tmp_path):
    trained, trainer = ForceRegressionTask(ToyEncoder(6)), make_trainer()
    trainer.fit(trained, data)
    trainer.save_checkpoint(tmp_path / "force.ckpt")
    with pytest.raises(
        ValueError, match=r"does not contain the class of its encoder, because .* an instance"
    ):
        ScalarRegressionTask.from_pretrained_encoder(tmp_path / "force.ckpt", task_keys=["band_gap"])
    task = ScalarRegressionTask.from_pretrained_encoder(
        tmp_path / "force.ckpt", encoder=ToyEncoder(6), task_keys=["band_gap"]
    )
    assert_same_weights(task.encoder, trained.encoder)


def test_compiled_encoder_has_original_names(checkpoint, tmp_path):
    path, trained = checkpoint
    stored = torch.load(path, weights_only=True)
    stored["state_dict"] = {
        name.replace("encoder.", "encoder._orig_mod."): value for name, value in stored["state_dict"].items()
    }
    torch.save(stored, tmp_path / "compiled.ckpt")
    task = ScalarRegressionTask.from_pretrained_encoder(tmp_path / "compiled.ckpt", task_keys=["band_gap"])
    assert_same_weights(task.encoder, trained.encoder)


class Wider(ToyEncoder):
    """Encoder with one layer more than that of the checkpoint."""

    def __init__(self, output_dim: int = 6) -> None:
        super().__init__(output_dim)
        self.more = torch.nn.Linear(2, 2)


def test_mismatched_weights_are_named_or_kept(checkpoint, tmp_path, caplog):
    path, trained = checkpoint
    stored = torch.load(path, weights_only=True)
    stored["state_dict"]["encoder.old"] = torch.zeros(3)
    stored["state_dict"]["encoder.filter.weight"] = torch.zeros(5, 5)
    torch.save(stored, tmp_path / "other.ckpt")
    message = (
        r"do not match Wider: 5 loaded; missing in the checkpoint: more.weight, more.bias; unexpected: old; "
        r"mismatched: filter.weight \(\[5, 5\] in the checkpoint, \[6, 8\] here\)\. Pass strict=False"
    )
    with pytest.raises(ValueError, match=message.replace("5 loaded", r"\d loaded")):
        ScalarRegressionTask.from_pretrained_encoder(tmp_path / "other.ckpt", encoder=Wider())
    encoder = Wider()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    task = ScalarRegressionTask.from_pretrained_encoder(
        tmp_path / "other.ckpt", encoder=encoder, strict=False
    )
    report = task.pretrained_report
    assert (report.missing, report.unexpected) == (("more.weight", "more.bias"), ("old",))
    assert report.mismatched == {"filter.weight": ((5, 5), (6, 8))}
    assert not report.complete
    assert "filter.weight ([5, 5] in the checkpoint, [6, 8] here)" in caplog.text
    for name, value in encoder.state_dict().items():
        expected = trained.encoder.state_dict()[name] if name in report.loaded else before[name]
        assert torch.equal(value, expected), name


def test_invalid_files_are_refused(tmp_path, checkpoint):
    make = ScalarRegressionTask.from_pretrained_encoder
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*none\.ckpt does not exist"):
        make(tmp_path / "none.ckpt")
    with pytest.raises(ValueError, match=r"is a directory with a sharded checkpoint. Convert it to a file"):
        make(tmp_path)
    (tmp_path / "text.ckpt").write_text("hello", encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.ckpt cannot be read as a checkpoint with weights_only"):
        make(tmp_path / "text.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match=r"list\.ckpt is not a checkpoint: expected a dict, got a list"):
        make(tmp_path / "list.ckpt")
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="has no encoder weights"):
        make(tmp_path / "other.ckpt", encoder=ToyEncoder())
    stored = torch.load(checkpoint[0], weights_only=True)
    stored["state_dict"] = {"encoder.other": torch.zeros(1)}
    torch.save(stored, tmp_path / "nothing.ckpt")
    with pytest.raises(ValueError, match=r"do not match ToyEncoder: 0 loaded; .* Create the encoder with"):
        make(tmp_path / "nothing.ckpt", encoder=ToyEncoder(), strict=False)


def test_report_lists_weights():
    assert str(EncoderReport(("a", "b"))) == "2 loaded"
    assert str(EncoderReport(("a",), missing=("b",))) == "1 loaded; missing in the checkpoint: b"
