from typing import Any

import jsonargparse
import pytest
import pytorch_lightning as pl
import torch
from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from mml_tasks.testing import ToyEncoder
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningCLI
from torch import nn


def parameters(task: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in task.state_dict().items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* not empty")
def test_interrupted_run_resumes_exactly(data, make_trainer, tmp_path):
    """Optimizer, schedule and normalizers continue exactly."""

    def run(**options: Any) -> ForceRegressionTask:
        torch.manual_seed(options.pop("seed"))
        task = ForceRegressionTask(
            ToyEncoder(),
            normalize_kwargs="auto",
            scheduler_kwargs={"OneCycleLR": {}},
            lr=0.01,
            weight_decay=0.1,
        )
        ckpt_path = options.pop("ckpt_path", None)
        make_trainer(max_epochs=4, **options).fit(task, data, ckpt_path=ckpt_path)
        return task

    def checkpoints() -> dict[str, Any]:
        every_epoch = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        return {"callbacks": [every_epoch], "enable_checkpointing": True}

    whole = run(seed=0, **checkpoints())
    resumed = run(seed=1, ckpt_path=tmp_path / "epoch=1.ckpt", **checkpoints())
    assert_same(parameters(whole), parameters(resumed))


def test_checkpoint_rebuilds_task(data, make_trainer, tmp_path):
    options: dict[str, Any] = {
        "output_kwargs": {"hidden_dim": 16, "activation": nn.Tanh},
        "loss_func": nn.L1Loss,
        "normalize_kwargs": "auto",
        "compute_stress": True,
        "task_loss_scaling": {"force": 3.0},
    }
    task = ForceRegressionTask(encoder_class=ToyEncoder, encoder_kwargs={"output_dim": 6}, **options)
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    stored = torch.load(tmp_path / "task.ckpt", weights_only=True)["hyper_parameters"]
    assert stored["encoder_class"] == "mml_tasks.testing.ToyEncoder"
    assert stored["loss_func"] == "torch.nn.modules.loss.L1Loss"
    loaded = ForceRegressionTask.load_from_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    assert_same(parameters(task), parameters(loaded))
    assert loaded.task_loss_scaling == {"energy": 1.0, "force": 3.0, "stress": 1.0}
    batch = next(iter(data.loader()))
    for key, value in task(batch).items():
        assert torch.equal(value, loaded(batch)[key])


def test_encoder_instance_is_passed_again(data, make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.fit(ForceRegressionTask(ToyEncoder(6), lr=0.5), data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    loaded = ForceRegressionTask.load_from_checkpoint(tmp_path / "task.ckpt", encoder=ToyEncoder(6))
    assert loaded.lr == 0.5
    assert_same(parameters(trainer.lightning_module), parameters(loaded))
    with pytest.raises(ValueError, match="either encoder or encoder_class, got neither"):
        ForceRegressionTask.load_from_checkpoint(tmp_path / "task.ckpt")


# jsonargparse 4.53 has new names for what Lightning 2.6 calls; older versions have the old ones only.
jsonargparse_is_ahead_of_lightning = pytest.mark.filterwarnings(
    "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"
)

CONFIG: dict[str, Any] = {
    "class_path": "mml_tasks.ForceRegressionTask",
    "init_args": {
        "encoder": {"class_path": "mml_tasks.testing.ToyEncoder", "init_args": {"output_dim": 5}},
        "loss_func": {"force": {"class_path": "torch.nn.HuberLoss", "init_args": {"delta": 0.3}}},
        "normalize_kwargs": "auto",
        "compute_stress": True,
    },
}


@jsonargparse_is_ahead_of_lightning
def test_parser_builds_encoder_and_losses():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(pl.LightningModule, "model")
    model = parser.instantiate_classes(parser.parse_object({"model": CONFIG})).model
    assert isinstance(model, ForceRegressionTask)
    assert model.encoder.output_dim == 5
    assert model.losses["force"].delta == 0.3
    assert model.compute_stress
    with pytest.raises(jsonargparse.ArgumentError, match="learning_rate"):
        parser.parse_object({"model": {**CONFIG, "init_args": {**CONFIG["init_args"], "learning_rate": 1}}})


@jsonargparse_is_ahead_of_lightning
@pytest.mark.parametrize("loss", ["torch.nn.L1Loss", {"class_path": "torch.nn.L1Loss"}])
def test_parser_accepts_one_loss(loss):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ScalarRegressionTask, "model")
    config = {"encoder": CONFIG["init_args"]["encoder"], "task_keys": ["band_gap"], "loss_func": loss}
    model = parser.instantiate_classes(parser.parse_object({"model": config})).model
    assert isinstance(model.losses["band_gap"], nn.L1Loss)


@jsonargparse_is_ahead_of_lightning
def test_cli_checkpoint_rebuilds_encoder(data, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["matsciml"])
    options = {"accelerator": "cpu", "logger": False, "max_epochs": 1, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    cli = LightningCLI(
        pl.LightningModule,
        subclass_mode_model=True,
        args={"model": CONFIG, "trainer": options | quiet},
        run=False,
        seed_everything_default=False,
        save_config_callback=None,
    )
    cli.trainer.fit(cli.model, datamodule=data)
    cli.trainer.save_checkpoint(tmp_path / "task.ckpt")
    torch.load(tmp_path / "task.ckpt", weights_only=True)
    loaded = ForceRegressionTask.load_from_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    assert loaded.encoder.output_dim == 5
    assert loaded.losses["force"].delta == 0.3
    assert_same(parameters(cli.model), parameters(loaded))


def test_setup_refuses_unknown_target(data, make_trainer):
    task = ScalarRegressionTask(ToyEncoder(), task_keys=["bandgap"])
    with pytest.raises(
        ValueError, match=r"'bandgap' is not in the data set, whose targets are \['band_gap', "
    ):
        make_trainer().fit(task, data)


def test_first_batch_refuses_unknown_target(data, make_trainer):
    task = ScalarRegressionTask(ToyEncoder(), task_keys=["bandgap"])
    with pytest.raises(ValueError, match=r"'bandgap' is not in the batch of sample 'toy/000000'"):
        make_trainer().fit(task, data.loader(), data.loader())


def test_auto_requires_statistics_without_fit(data, make_trainer):
    task = ForceRegressionTask(ToyEncoder(), normalize_kwargs="auto")
    for method in ("validate", "predict"):
        with pytest.raises(ValueError, match="needs a data module with target_statistics"):
            getattr(make_trainer(), method)(task, data.loader())


def test_auto_keeps_statistics_of_checkpoint(data, make_trainer, tmp_path):
    task = ForceRegressionTask(ToyEncoder(), normalize_kwargs="auto")
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    for _, targets in data.samples:
        targets["force"] *= 100
    loaded = ForceRegressionTask.load_from_checkpoint(tmp_path / "task.ckpt", encoder=ToyEncoder())
    make_trainer().fit(loaded, data)
    assert loaded.normalizers["force"].std == task.normalizers["force"].std
    make_trainer().predict(loaded, data.loader())


def test_constant_target_is_refused(data, make_trainer):
    for _, targets in data.samples:
        targets["band_gap"].fill_(2.0)
    task = ScalarRegressionTask(ToyEncoder(), task_keys=["band_gap"], normalize_kwargs="auto")
    with pytest.raises(ValueError, match=r"target 'band_gap': the standard deviation .* got 0\.0"):
        make_trainer().fit(task, data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize_kwargs": "Auto"}, "must be a dict, \"auto\" or None, got 'Auto'"),
        ({"normalize_kwargs": {"energy": 1.0}}, r"unknown names \['energy'\], expected some of"),
        ({"task_loss_scaling": {"forces": 1.0}}, "unknown target 'forces', expected one of"),
        ({"task_loss_scaling": {"force": -1.0}}, "finite and not negative"),
        ({"loss_func": "MSE"}, "loss_func='MSE' is not a class"),
        ({"encoder_class": "mml_tasks.testing.Toy"}, "got both"),
    ],
)
def test_invalid_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ForceRegressionTask(ToyEncoder(), **options)


@pytest.mark.parametrize("key", ["a.b", "values", "training"])
def test_invalid_target_names_are_refused(key):
    with pytest.raises(ValueError, match=f"target '{key}' has an invalid name"):
        ScalarRegressionTask(ToyEncoder(), task_keys=[key])


def test_optimizer_excludes_frozen_weights():
    task = ForceRegressionTask(ToyEncoder(), lr=0.3, weight_decay=0.2)
    task.encoder.requires_grad_(False)
    (group,) = task.configure_optimizers().param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.3, 0.2, 4)


def test_schedule_ends_with_run(data, make_trainer):
    schedulers = {"CosineAnnealingLR": {"eta_min": 0.001}}
    task = ForceRegressionTask(ToyEncoder(), lr=0.01, scheduler_kwargs=schedulers)
    trainer = make_trainer(max_epochs=2)
    trainer.fit(task, data)
    assert trainer.global_step == 6
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.001)
