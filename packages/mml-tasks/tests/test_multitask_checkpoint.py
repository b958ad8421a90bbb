from typing import Any

import pytest
import torch
from mml_tasks import ForceRegressionTask, MultiTaskLitModule, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder

MD, BULK = "md/ForceRegressionTask", "bulk/ScalarRegressionTask"


def make_module(seed: int = 0, **options: Any) -> MultiTaskLitModule:
    torch.manual_seed(seed)
    return MultiTaskLitModule(
        ("md", ForceRegressionTask(encoder_class=ToyEncoder, normalize_kwargs="auto", lr=0.01)),
        ("bulk", ScalarRegressionTask(encoder_class=ToyEncoder, normalize_kwargs="auto", lr=0.02)),
        **options,
    )


def first_batches(data: Any) -> dict[str, Any]:
    return {name: next(iter(loader)) for name, loader in data.loaders().items()}


def test_checkpoint_rebuilds_module(both, make_trainer, tmp_path):
    module, trainer = make_module(task_scaling=[1.0, 4.0], lr=0.03), make_trainer()
    trainer.fit(module, both)
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    loaded = MultiTaskLitModule.load_from_checkpoint(tmp_path / "both.ckpt")
    assert loaded.task_loss_scaling == {MD: 1.0, BULK: 4.0}
    assert loaded.encoder_opt_kwargs == {"lr": 0.03}
    assert loaded.tasks[BULK].encoder is loaded.encoder
    batch = first_batches(both)
    for name, outputs in module.predict(batch).items():
        for key in module.tasks[name].task_keys:
            assert torch.equal(outputs[key], loaded.predict(batch)[name][key])
    fine = ScalarRegressionTask.from_pretrained_encoder(tmp_path / "both.ckpt", task_keys=["density"])
    assert torch.equal(fine.encoder.filter.weight, module.encoder.filter.weight)
    other = MultiTaskLitModule(("md", ForceRegressionTask(ToyEncoder())))
    with pytest.raises(ValueError, match=r"has the tasks \['bulk/.*', 'md/.*'\], but this module has \['md/"):
        other.on_load_checkpoint(torch.load(tmp_path / "both.ckpt", weights_only=True))
    trainer = make_trainer()
    trainer.fit(ForceRegressionTask(ToyEncoder()), both.parts["md"])
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(ValueError, match=r"not from a MultiTaskLitModule\. Load it with the class of"):
        MultiTaskLitModule.load_from_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*none\.ckpt does not exist"):
        MultiTaskLitModule.load_from_checkpoint(tmp_path / "none.ckpt")
