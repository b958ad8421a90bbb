"""Averages of weights with the callback of Lightning."""

import pytest
import torch
from mml_tasks import ForceRegressionTask, MultiTaskLitModule, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder

callbacks = pytest.importorskip("pytorch_lightning.callbacks")
if not hasattr(callbacks, "EMAWeightAveraging"):
    pytest.skip("this Lightning has no EMAWeightAveraging", allow_module_level=True)

DECAY = 0.8


class Weights(callbacks.Callback):
    """Records the raw weights after each optimizer step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.seen.append({name: p.detach().clone() for name, p in pl_module.named_parameters()})


def make_task():
    """Return a task whose heads and statistics come from the data, so that `setup` completes it."""
    torch.manual_seed(0)
    return ScalarRegressionTask(ToyEncoder(), normalize_kwargs="auto", lr=0.02)


def test_training_ends_with_averaged_weights(data, make_trainer):
    task, record = make_task(), Weights()
    trainer = make_trainer(max_epochs=2, callbacks=[record, callbacks.EMAWeightAveraging(decay=DECAY)])
    trainer.fit(task, data)
    average = dict(record.seen[0])  # Lightning copies the weights of the first step
    for weights in record.seen[1:]:
        average = {name: DECAY * average[name] + (1 - DECAY) * value for name, value in weights.items()}
    raw = record.seen[-1]
    assert any(not torch.allclose(raw[name], average[name]) for name in raw)
    for name, value in task.named_parameters():
        torch.testing.assert_close(value.detach(), average[name], msg=name)
    assert task.normalizers.unset() == []


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_checkpoint_resumes_exactly(data, make_trainer, tmp_path):
    runs = []

    def run(epochs, ckpt_path=None):
        runs.append(epochs)
        task, record = make_task(), Weights()
        saved = callbacks.ModelCheckpoint(tmp_path / str(len(runs)), filename="{epoch}", save_top_k=-1)
        trainer = make_trainer(
            max_epochs=epochs,
            callbacks=[record, callbacks.EMAWeightAveraging(decay=DECAY), saved],
            enable_checkpointing=True,
        )
        trainer.fit(task, data, ckpt_path=ckpt_path)
        return task, record

    whole, whole_record = run(4)
    _, record = run(2)
    half = tmp_path / "2" / "epoch=1.ckpt"
    stored = torch.load(half, weights_only=True)
    raw, average = stored["current_model_state"], stored["state_dict"]
    assert raw.keys() == average.keys()
    for name, value in record.seen[-1].items():
        assert torch.equal(raw[name], value), name
    assert any(not torch.equal(raw[name], average[name]) for name in raw)
    resumed, resumed_record = run(4, half)
    for name, value in whole_record.seen[-1].items():
        assert torch.equal(resumed_record.seen[-1][name], value), name
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_validation_uses_averaged_weights(data, make_trainer):
    task = make_task()
    trainer = make_trainer(max_epochs=2, callbacks=[callbacks.EMAWeightAveraging(decay=DECAY)])
    trainer.fit(task, data)
    logged = trainer.callback_metrics["val_loss"].item()
    after = make_trainer().validate(task, data, verbose=False)[0]["val_loss"]
    assert after == pytest.approx(logged, rel=1e-5)


def test_several_tasks_are_averaged_together(both, make_trainer):
    torch.manual_seed(0)
    module = MultiTaskLitModule(
        ("md", ForceRegressionTask(encoder_class=ToyEncoder, normalize_kwargs="auto")),
        ("bulk", ScalarRegressionTask(encoder_class=ToyEncoder, normalize_kwargs="auto")),
    )
    trainer = make_trainer(max_epochs=2, callbacks=[callbacks.EMAWeightAveraging(decay=DECAY)])
    trainer.fit(module, both)
    assert module.tasks["bulk/ScalarRegressionTask"].encoder is module.encoder
    for task in module.tasks.values():
        assert task.normalizers.unset() == []
