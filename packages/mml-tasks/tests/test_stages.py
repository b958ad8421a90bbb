import pytorch_lightning as pl
from mml_tasks import ForceRegressionTask
from mml_tasks.testing import ToyEncoder
from mml_tasks.trainer.stages import stage_of


class Stages(pl.Callback):
    """Records the stage at the start of each batch."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_train_batch_start(self, trainer, *args):
        self.seen.append(stage_of(trainer))

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = on_train_batch_start


def test_stage_follows_trainer(data, make_trainer):
    stages = Stages()
    trainer = make_trainer(
        callbacks=[stages], limit_train_batches=1, num_sanity_val_steps=1, limit_val_batches=1
    )
    task = ForceRegressionTask(ToyEncoder())
    trainer.fit(task, data)
    assert stages.seen == ["val", "train", "val"]
    trainer.limit_test_batches = trainer.limit_predict_batches = 1
    trainer.test(task, data, verbose=False)
    trainer.predict(task, data)
    assert stages.seen[3:] == ["test", "predict"]
