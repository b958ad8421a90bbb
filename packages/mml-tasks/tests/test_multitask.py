from collections.abc import Callable
from typing import Any

import pytest
import torch
from mml_tasks import (
    BinaryClassificationTask,
    ForceRegressionTask,
    MultiTaskLitModule,
    ScalarRegressionTask,
)
from mml_tasks.testing import ToyEncoder
from pytorch_lightning.callbacks import ModelCheckpoint

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


def test_loss_is_weighted_sum(both):
    module = make_module(task_scaling=[2.0, 0.5], task_keys={"bulk": ["band_gap"]})
    batch = first_batches(both)
    md, bulk = (module.tasks[name] for name in (MD, BULK))
    expected = 2.0 * md.training_step(batch["md"], 0) + 0.5 * bulk.training_step(batch["bulk"], 0)
    torch.testing.assert_close(module.training_step(batch, 0), expected)
    module.task_loss_scaling[MD] = 0.0
    torch.testing.assert_close(module.training_step(batch, 0), 0.5 * bulk.training_step(batch["bulk"], 0))
    only = module.training_step({"md": None, "bulk": batch["bulk"]}, 0)
    torch.testing.assert_close(only, 0.5 * bulk.training_step(batch["bulk"], 0))


def test_optimizer_has_each_parameter_once(both, make_trainer):
    module = make_module(lr=0.03, scheduler_kwargs={"OneCycleLR": {}})
    assert module.tasks[MD].encoder is module.tasks[BULK].encoder is module.encoder
    make_trainer().fit(module, both)
    optimizer = module.optimizers().optimizer
    listed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted({id(p) for p in module.parameters()})
    assert [group["max_lr"] for group in optimizer.param_groups] == pytest.approx([0.03, 0.01, 0.02])
    assert {id(p) for p in module.encoder.parameters()} == {
        id(p) for p in optimizer.param_groups[0]["params"]
    }


def test_tasks_log_as_if_alone(both, make_trainer):
    module, trainer = make_module(task_scaling={BULK: 3.0}), make_trainer()
    trainer.fit(module, both)
    logged = trainer.callback_metrics
    assert {"train_loss", f"{MD}/train_force_loss", f"{BULK}/train_band_gap_loss"} <= set(logged)
    assert module.tasks[BULK].task_keys == ["energy", "band_gap", "density"]
    found: dict[str, float] = {}
    for row in trainer.validate(module, both, verbose=False):
        found |= row
    total = 0.0
    for name, weight in ((MD, 1.0), (BULK, 3.0)):
        task = module.tasks[name]
        alone = type(task)(encoder=module.encoder, **{**task.hparams, "encoder_class": None})
        alone.load_state_dict(task.state_dict())
        loader = both.parts[name.split("/")[0]].loader()
        expected = make_trainer().validate(alone, loader, verbose=False)[0]
        assert {key for key in found if key.startswith(name)} == {f"{name}/{key}" for key in expected}
        for key, value in expected.items():
            assert found[f"{name}/{key}"] == pytest.approx(value, rel=1e-5), key
        total += weight * expected["val_loss"]
    assert found["val_loss"] == pytest.approx(total, rel=1e-5)


def test_normalizers_use_own_statistics(both, make_trainer):
    module = make_module()
    make_trainer(limit_train_batches=1).fit(module, both)
    for name, key in ((MD, "energy"), (BULK, "band_gap")):
        statistics = both.parts[name.split("/")[0]].target_statistics()[key]
        mean = statistics["per_atom_mean" if name == MD else "mean"]
        assert module.tasks[name].normalizers.of(key).mean.item() == pytest.approx(mean)


def test_pass_reads_own_loader(both, make_trainer):
    module = make_module(task_keys={"bulk": {"ScalarRegressionTask": ["band_gap"]}})
    make_trainer(limit_train_batches=1).fit(module, both.loaders(), both.loaders())
    mean = both.parts["bulk"].target_statistics()["band_gap"]["mean"]
    assert module.tasks[BULK].normalizers.of("band_gap").mean.item() == pytest.approx(mean, rel=1e-5)


def test_single_data_set_accepts_plain_batches(data, make_trainer):
    encoder = ToyEncoder()
    module = MultiTaskLitModule(
        ("toy", ForceRegressionTask(encoder, lr=0.01)),
        ("toy", BinaryClassificationTask(encoder, task_keys=["is_metal"])),
    )
    trainer = make_trainer()
    trainer.fit(module, data)
    metrics = trainer.test(module, data, verbose=False)[0]
    assert {
        "toy/ForceRegressionTask/test_force_mae",
        "toy/BinaryClassificationTask/test_is_metal_accuracy",
    } <= {*metrics}
    batch = next(iter(data.loader()))
    predicted = module.predict(batch)
    assert list(predicted) == ["toy/ForceRegressionTask", "toy/BinaryClassificationTask"]
    for name, outputs in trainer.predict(module, data)[0].items():
        for key, value in outputs["predictions"].items():
            torch.testing.assert_close(predicted[name][key], value)


def test_listed_loaders_follow_data_sets(both, make_trainer):
    module, trainer = make_module(), make_trainer()
    trainer.fit(module, both)
    as_dict: dict[str, float] = {}
    as_list: dict[str, float] = {}
    for row in trainer.validate(module, both.loaders(), verbose=False):
        as_dict |= row
    for row in trainer.validate(module, list(both.loaders().values()), verbose=False):
        as_list |= row
    assert as_dict == as_list


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* not empty")
def test_interrupted_run_resumes_exactly(both, make_trainer, tmp_path):
    def run(seed: int, **options: Any) -> MultiTaskLitModule:
        module = make_module(seed, scheduler_kwargs={"OneCycleLR": {}})
        every = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        trainer = make_trainer(max_epochs=3, callbacks=[every], enable_checkpointing=True)
        trainer.fit(module, both, **options)
        return module

    whole = run(0)
    resumed = run(1, ckpt_path=tmp_path / "epoch=0.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


class OtherEncoder(ToyEncoder):
    """Encoder of another class."""


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: MultiTaskLitModule(),
            ValueError,
            "needs at least one task. Pass pairs of data set name and task",
        ),
        (
            lambda: MultiTaskLitModule(ForceRegressionTask(ToyEncoder())),
            TypeError,
            "tasks must be pairs of data set name and task, got ForceRegressionTask",
        ),
        (
            lambda: MultiTaskLitModule(("a.b", ForceRegressionTask(ToyEncoder()))),
            ValueError,
            "data set 'a.b' has an invalid name",
        ),
        (
            lambda: MultiTaskLitModule(*[("a", ForceRegressionTask(ToyEncoder())) for _ in range(2)]),
            ValueError,
            "task a/ForceRegressionTask was passed twice",
        ),
        (
            lambda: MultiTaskLitModule(
                ("a", ForceRegressionTask(ToyEncoder())), ("b", ForceRegressionTask(OtherEncoder()))
            ),
            ValueError,
            r"\(OtherEncoder\) differs from that of ForceRegressionTask \(ToyEncoder\)",
        ),
        (
            lambda: MultiTaskLitModule(
                ("a", ForceRegressionTask(ToyEncoder(4))), ("b", ForceRegressionTask(ToyEncoder(5)))
            ),
            ValueError,
            "differs from that of",
        ),
        (
            lambda: MultiTaskLitModule(("a", ForceRegressionTask(ToyEncoder(), lr_scaling="sqrt"))),
            ValueError,
            "has lr_scaling, but .* Pass lr_scaling to MultiTaskLitModule",
        ),
        (
            lambda: make_module(task_scaling=[1.0]),
            ValueError,
            "has 1 weights, expected one for each of the tasks",
        ),
        (lambda: make_module(task_scaling={"md": 1.0}), ValueError, "unknown target 'md'"),
        (lambda: make_module(task_scaling=[1.0, -1.0]), ValueError, "must be finite and not negative"),
        (lambda: make_module(learning_rate=1.0), ValueError, r"unknown arguments \['learning_rate'\]"),
        (lambda: make_module(task_keys={"x": []}), ValueError, "unknown data set 'x', expected one of"),
        (
            lambda: make_module(task_keys={"md": ["energy"]}),
            ValueError,
            "for ForceRegressionTask, but this task was",
        ),
        (lambda: make_module(task_keys={"md": {"X": []}}), ValueError, "unknown task 'X', expected one of"),
    ],
)
def test_incompatible_tasks_are_refused(make: Callable[[], Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        make()


def test_unknown_data_sets_are_refused(both, data, make_trainer):
    module = make_module(task_keys={"bulk": ["band_gap"]})
    with pytest.raises(ValueError, match=r"\['other'\] are not among the data sets \['md', 'bulk'\]"):
        module.training_step({"other": first_batches(both)["md"]}, 0)
    with pytest.raises(ValueError, match=r"cannot determine which of the data sets \['md', 'bulk'\]"):
        module.training_step(first_batches(both)["md"], 0)
    with pytest.raises(ValueError, match="is empty for each of the data sets"):
        module.training_step({"md": None}, 0)
    with pytest.raises(ValueError, match=r"must have one entry for each of the data sets .*'md', 'bulk'"):
        make_trainer().fit(make_module(), data)
