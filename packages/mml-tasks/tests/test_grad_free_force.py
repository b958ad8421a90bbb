import pytest
import torch
from mml_tasks import GradFreeForceRegressionTask
from mml_tasks.testing import ToyEncoder, random_structure, toy_batch, toy_graph


def make_task(**options):
    torch.manual_seed(0)
    return GradFreeForceRegressionTask(ToyEncoder(), **options)


@pytest.mark.parametrize("seed", range(3))
def test_rotation_turns_forces_only(seed):
    task = make_task(task_keys=["energy", "force"], normalize_kwargs={"force_std": 3.0}).double()
    numbers, pos, cell = random_structure(seed)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    first = task.predict(toy_batch([toy_graph(numbers, pos, cell)]))
    second = task.predict(toy_batch([toy_graph(numbers, pos @ turn, cell @ turn)]))
    torch.testing.assert_close(second["force"], first["force"] @ turn)
    torch.testing.assert_close(second["energy"], first["energy"])


def test_batched_structures_are_independent():
    task = make_task(task_keys=["energy", "force"], normalize_kwargs={"energy_per_atom_mean": -2.0}).double()
    graphs = [toy_graph(*random_structure(seed, 2 + seed)) for seed in range(3)]
    together = task.predict(toy_batch(graphs))
    alone = [task.predict(toy_batch([graph])) for graph in graphs]
    for key in ("energy", "force"):
        torch.testing.assert_close(together[key], torch.cat([each[key] for each in alone]))
    twice = task.predict(toy_batch([graphs[0], graphs[0]]))
    assert twice["energy"].sum() == pytest.approx(2 * alone[0]["energy"].item())


@pytest.mark.parametrize("keys", [None, ["energy", "force"]])
def test_task_learns(keys, data, make_trainer):
    task = make_task(task_keys=keys, lr=0.01, normalize_kwargs="auto")
    for key in task.task_keys:
        assert key in ("energy", "force")
    trainer = make_trainer(max_epochs=1)
    trainer.fit(task, data)
    first = trainer.callback_metrics["val_loss"].item()
    trainer = make_trainer(max_epochs=40)
    trainer.fit(task, data)
    assert trainer.callback_metrics["val_loss"].item() < 0.9 * first


def test_auto_scales_targets_independently(data, make_trainer):
    task = make_task(task_keys=["energy", "force"], normalize_kwargs="auto")
    make_trainer(limit_train_batches=1).fit(task, data)
    statistics = data.target_statistics()
    normalizer = task.normalizers.of("force")
    assert normalizer.std.item() == pytest.approx(statistics["force"]["rms"])
    assert normalizer.mean.item() == 0.0
    assert task.normalizers.of("energy").std.item() == pytest.approx(statistics["energy"]["per_atom_std"])


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="cannot learn 'stress', expected 'energy' or 'force'"):
        make_task(task_keys=["force", "stress"])
    with pytest.raises(ValueError, match=r"needs at least one target, got task_keys=\[\]"):
        make_task(task_keys=[])
    with pytest.raises(
        ValueError, match=r"force_mean must be zero, got .* a mean vector would define a direction"
    ):
        make_task(normalize_kwargs={"force_mean": [0.0, 0.0, 1.0]})


def test_checkpoint_rebuilds_task(data, make_trainer, tmp_path):
    task, trainer = make_task(vector_cutoff=3.5), make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    again = GradFreeForceRegressionTask.load_from_checkpoint(tmp_path / "task.ckpt", encoder=ToyEncoder())
    assert again.output_heads["force"].cutoff == 3.5
    batch = next(iter(data.loader()))
    assert torch.equal(again.predict(batch)["force"], task.predict(batch)["force"])
