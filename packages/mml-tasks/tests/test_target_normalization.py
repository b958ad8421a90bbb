import logging
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from mml_tasks.normalization.target_normalization import changed_numbers
from mml_tasks.testing import ToyEncoder

NUMBERS = {"band_gap_mean": 1.0, "band_gap_std": 0.5, "density_mean": 5.0}


def scalar(normalize_kwargs: Any = NUMBERS, **options: Any) -> ScalarRegressionTask:
    torch.manual_seed(0)
    return ScalarRegressionTask(
        ToyEncoder(), task_keys=["band_gap", "density"], normalize_kwargs=normalize_kwargs, **options
    )


def force(normalize_kwargs: Any = "auto", **options: Any) -> ForceRegressionTask:
    torch.manual_seed(0)
    return ForceRegressionTask(ToyEncoder(), normalize_kwargs=normalize_kwargs, **options)


def without_statistics(data: Any) -> pl.LightningDataModule:
    class Plain(pl.LightningDataModule):
        train_dataloader = val_dataloader = predict_dataloader = staticmethod(data.loader)

    return Plain()


def numbers(task: Any) -> dict[str, Any]:
    return {key: task.normalizers.of(key).numbers() for key in task.normalizers}


# ---------------------------------------------------------------- from the data


def test_pass_equals_stored_statistics(data, make_trainer):
    stored, module, loaders = scalar("auto"), scalar("auto"), scalar("auto")
    make_trainer().fit(stored, data)
    make_trainer().fit(module, without_statistics(data))
    make_trainer().fit(loaders, data.loader(), data.loader())
    for key in ("band_gap", "density"):
        values = torch.cat([targets[key] for _, targets in data.samples]).double().numpy()
        for task in (module, loaders):
            found = numbers(task)[key]
            assert found["mean"] == pytest.approx(values.mean(), rel=1e-6)
            assert found["std"] == pytest.approx(values.std(), rel=1e-6)
            assert found["count"] == 10
            assert found["source"] == "a pass over 10 structures of the training data"
        assert numbers(stored)[key]["mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert numbers(stored)[key]["source"] == "the data module's target_statistics()"


def test_pass_does_not_change_run(data, make_trainer):
    def weights(normalize_kwargs: Any) -> dict[str, torch.Tensor]:
        task = scalar(normalize_kwargs)
        loader = torch.utils.data.DataLoader(
            data.samples, batch_size=4, shuffle=True, collate_fn=data.loader().collate_fn
        )
        torch.manual_seed(5)
        make_trainer(max_epochs=2).fit(task, loader, data.loader())
        return {key: value for key, value in task.state_dict().items() if "normalizers" not in key}

    passed = weights("auto")
    task = scalar("auto")
    make_trainer().fit(task, data.loader(), data.loader())
    kwargs = {f"{k}_{n}": numbers(task)[k][n] for k in ("band_gap", "density") for n in ("mean", "std")}
    for key, value in weights(kwargs).items():
        assert torch.equal(value, passed[key]), key


def test_given_statistics_replace_those_of_data(data, make_trainer):
    task = scalar({"auto": True, "density_std": 4.0})
    make_trainer().fit(task, data)
    found = numbers(task)
    assert found["density"]["std"] == 4.0
    assert found["density"]["mean"] == pytest.approx(data.target_statistics()["density"]["mean"])
    assert found["density"]["source"] == "normalize_kwargs and the data module's target_statistics()"
    assert found["band_gap"]["source"] == "the data module's target_statistics()"
    task = force({"auto": True, "force_std": 2.0})
    make_trainer().fit(task, data)
    assert numbers(task)["energy"]["std"] == numbers(task)["force"]["std"] == 2.0
    assert numbers(task)["energy"]["per_atom"]


def test_pass_is_bounded(data, make_trainer, caplog):
    caplog.set_level(logging.INFO, "mml_tasks")
    task = scalar({"auto": True, "max_samples": 3})
    make_trainer().fit(task, data.loader(), data.loader())
    assert numbers(task)["density"]["count"] == 4
    assert "which stopped at max_samples=3" in caplog.text


def test_component_statistics_normalize_components(data, make_trainer):
    forces = torch.cat([targets["force"] for _, targets in data.samples])
    task = force({"stress_std": [[1.0, 2.0, 2.0], [2.0, 1.0, 2.0], [2.0, 2.0, 1.0]]}, compute_stress=True)
    batch = next(iter(data.loader()))
    plain = force(None, compute_stress=True)
    expected = (plain(batch)["stress"]).float()  # the scales divide and multiply in single precision
    torch.testing.assert_close(task(batch)["stress"].float(), expected)
    ratio = plain.normalized_outputs(batch)["stress"] / task.normalized_outputs(batch)["stress"]
    torch.testing.assert_close(ratio[0].diagonal(), torch.ones(3, dtype=ratio.dtype))
    assert ratio[0, 0, 1].item() == pytest.approx(2.0)
    assert forces.shape[1] == 3
    make_trainer(max_epochs=1).fit(task, data)


def test_invalid_shapes_are_refused(data):
    task = scalar({"band_gap_mean": [1.0, 2.0]})
    with pytest.raises(
        ValueError,
        match=r"mean of the normalizer has shape \[2\], but the components of the target have shape \[1\]",
    ):
        task.training_step(next(iter(data.loader())), 0)


def test_several_loaders_are_refused(data, make_trainer):
    with pytest.raises(ValueError, match="reads one training loader, got 2"):
        make_trainer().fit(scalar("auto"), {"a": data.loader(), "b": data.loader()}, data.loader())


# ---------------------------------------------------------------- reference energies


def chemistry(data: Any) -> dict[int, float]:
    """Give the samples a few elements, and energies that are sums over atoms."""
    references = {3: -1.9, 15: -5.4, 16: -4.1}
    generator = torch.Generator().manual_seed(1)
    for graph, targets in data.samples:
        kinds = torch.tensor([3, 15, 16])
        graph.atomic_numbers = kinds[torch.randint(0, 3, (len(graph.pos),), generator=generator)]
        targets["energy"] = torch.tensor([[sum(references[int(z)] for z in graph.atomic_numbers)]])
    return references


@pytest.mark.parametrize("normalize_kwargs", [{"auto": True, "energy_reference": "auto"}])
def test_fitted_references_are_shift(data, make_trainer, normalize_kwargs):
    references = chemistry(data)
    task = force(normalize_kwargs, output_kwargs={"last_layer_scale": 0.0}, lr=0.0)
    make_trainer().fit(task, data)
    found = numbers(task)["energy"]
    assert found["references"] == pytest.approx({"Li": -1.9, "P": -5.4, "S": -4.1}, rel=1e-4)
    assert found["std"] == pytest.approx(data.target_statistics()["force"]["rms"])
    batch = next(iter(data.loader()))
    expected = batch["targets"]["energy"].double()
    torch.testing.assert_close(task(batch)["energy"], expected, rtol=1e-4, atol=1e-4)
    nodes = task.node_energies(batch)[:, 0]
    expected = torch.tensor([references[int(z)] for z in batch["graph"].atomic_numbers], dtype=torch.float64)
    torch.testing.assert_close(nodes, expected, rtol=1e-4, atol=1e-4)


def test_references_keep_unit_scale(data, make_trainer):
    chemistry(data)
    task = force({"energy_reference": "auto"})
    make_trainer().fit(task, data)
    assert numbers(task)["energy"]["std"] == 1.0
    assert set(numbers(task)["energy"]["references"]) == {"Li", "P", "S"}


def test_stored_references_need_no_pass(data, make_trainer, caplog):
    chemistry(data)
    caplog.set_level(logging.INFO, "mml_tasks")
    statistics = data.target_statistics()
    statistics["energy"]["reference_energies"] = {"Li": -1.0, "P": -2.0, "S": -3.0}
    data.target_statistics = lambda: statistics
    task = force({"auto": True, "energy_reference": "auto"})
    make_trainer().fit(task, data)
    assert numbers(task)["energy"]["references"] == {"Li": -1.0, "P": -2.0, "S": -3.0}
    assert "a pass over" not in caplog.text


@pytest.mark.parametrize("how", ["predict", "call", "validate", "node_energies"])
def test_unseen_elements_are_named(data, make_trainer, how):
    chemistry(data)
    task = force({"energy_reference": "auto"})
    make_trainer().fit(task, data)
    data.samples[6][0].atomic_numbers[0] = 26
    data.samples[6][0].atomic_numbers[1] = 92
    batch = list(data.loader())[1]
    call = {
        "predict": lambda: make_trainer().predict(task, data),
        "validate": lambda: make_trainer().validate(task, data),
        "call": lambda: task(batch),
        "node_energies": lambda: task.node_energies(batch),
    }[how]
    with pytest.raises(ValueError, match="contains Fe, U, for which target 'energy' has no reference energy"):
        call()


def test_given_references_are_shift(data, make_trainer):
    task = force({"energy_reference": {"Li": -1.9, 15: -5.4, "16": -4.1}, "energy_std": 2.0})
    chemistry(data)
    make_trainer().fit(task, data)
    assert numbers(task)["energy"]["source"] == "normalize_kwargs"
    assert numbers(task)["energy"]["references"] == pytest.approx({"Li": -1.9, "P": -5.4, "S": -4.1})


def test_references_require_totals(data, make_trainer):
    for _, targets in data.samples:
        del targets["energy"]
    task = force({"energy_reference": "auto"}, task_keys=["force"])
    with pytest.raises(ValueError, match="'auto' needs the target 'energy' of whole structures"):
        make_trainer().fit(task, data.loader(), data.loader())


# ---------------------------------------------------------------- checkpoints


@pytest.fixture
def saved(data, make_trainer, tmp_path) -> Any:
    """Checkpoints of two runs, with given statistics and with those of the data."""
    paths = {}
    for name, task in (("given", scalar()), ("auto", force("auto"))):
        trainer = make_trainer()
        trainer.fit(task, data)
        paths[name] = tmp_path / f"{name}.ckpt"
        trainer.save_checkpoint(paths[name])
    return paths


def test_checkpoint_has_sources(data, saved):
    stored = torch.load(saved["auto"], weights_only=True)["normalization"]
    assert stored["energy"]["count"] is None
    assert stored["force"]["source"] == "the data module's target_statistics()"
    assert stored["energy"]["per_atom"] is True
    stored = torch.load(saved["given"], weights_only=True)["normalization"]
    assert stored["band_gap"] == {
        "mean": 1.0,
        "std": 0.5,
        "per_atom": False,
        "references": None,
        "source": "normalize_kwargs",
        "count": None,
    }


def test_checkpoint_restores_arrays_and_references(data, make_trainer, tmp_path):
    chemistry(data)
    options = {"energy_reference": {"Li": -1.0, "P": -2.0, "S": -3.0}, "stress_std": np.full((3, 3), 0.1)}
    task = ForceRegressionTask(encoder_class=ToyEncoder, normalize_kwargs=options, compute_stress=True)
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    loaded = ForceRegressionTask.load_from_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    assert numbers(loaded) == numbers(task)
    batch = next(iter(data.loader()))
    for key, value in task(batch).items():
        assert torch.equal(value, loaded(batch)[key])
    blank = ForceRegressionTask(ToyEncoder(), compute_stress=True)
    blank.load_state_dict(task.state_dict())
    assert torch.equal(blank(batch)["energy"], task(batch)["energy"])
    batch["graph"].atomic_numbers[0] = 26
    with pytest.raises(ValueError, match="contains Fe, "):
        blank(batch)


def test_sources_survive_second_checkpoint(data, make_trainer, saved, tmp_path):
    loaded = ForceRegressionTask.load_from_checkpoint(saved["auto"], encoder=ToyEncoder())
    trainer = make_trainer()
    trainer.fit(loaded, data)
    trainer.save_checkpoint(tmp_path / "again.ckpt")
    again, first = (
        torch.load(p, weights_only=True)["normalization"] for p in (tmp_path / "again.ckpt", saved["auto"])
    )
    assert again == first


def test_resume_refuses_other_statistics(data, make_trainer, saved):
    other = scalar(NUMBERS | {"density_mean": 7.0})
    with pytest.raises(
        ValueError, match=r"density mean is 5\.0 in the checkpoint and 7\.0 now.*\"override\": true"
    ):
        make_trainer(max_epochs=2).fit(other, data, ckpt_path=saved["given"])
    make_trainer(max_epochs=2).fit(scalar(), data, ckpt_path=saved["given"])


def test_override_replaces_statistics(data, make_trainer, saved, caplog):
    other = scalar(NUMBERS | {"density_mean": 7.0, "override": True})
    make_trainer(max_epochs=2).fit(other, data, ckpt_path=saved["given"])
    assert numbers(other)["density"]["mean"] == 7.0
    assert "density mean is 5.0 in the checkpoint and 7.0 now" in caplog.text


def test_load_refuses_other_statistics(saved):
    options: dict[str, Any] = {"encoder": ToyEncoder(), "normalize_kwargs": NUMBERS | {"density_std": 2.0}}
    with pytest.raises(ValueError, match=r"density std is 1\.0 in the checkpoint and 2\.0 now"):
        ScalarRegressionTask.load_from_checkpoint(saved["given"], **options)
    options["normalize_kwargs"]["override"] = True
    loaded = ScalarRegressionTask.load_from_checkpoint(saved["given"], **options)
    assert numbers(loaded)["density"]["std"] == 2.0


def test_statistics_default_to_checkpoint(data, make_trainer, saved):
    task = scalar(None)
    make_trainer(max_epochs=2).fit(task, data, ckpt_path=saved["given"])
    assert numbers(task) == numbers(scalar())


@pytest.mark.parametrize("module", [lambda data: data, without_statistics])
def test_resume_refuses_other_data(data, make_trainer, saved, module):
    task = force("auto")
    kept = torch.load(saved["auto"], weights_only=True)["normalization"]
    if module is without_statistics:
        # The toy data module's standard deviation is that of a sample, the pass's that of the population;
        # scale and shift of this task are an rms and a mean, which are the same.
        make_trainer(max_epochs=2).fit(task, module(data), ckpt_path=saved["auto"])
    for _, targets in data.samples:
        targets["force"] *= 100
    with pytest.raises(
        ValueError, match=r"statistics of the training data differ from .* force std is .* in the checkpoint"
    ):
        make_trainer(max_epochs=3).fit(force("auto"), module(data), ckpt_path=saved["auto"])
    task = force({"auto": True, "override": True})
    make_trainer(max_epochs=3).fit(task, module(data), ckpt_path=saved["auto"])
    assert numbers(task)["force"]["std"] == pytest.approx(100 * kept["force"]["std"], rel=1e-5)


def test_fine_tuning_keeps_statistics(data, make_trainer, saved, caplog):
    for _, targets in data.samples:
        targets["force"] *= 100
    loaded = ForceRegressionTask.load_from_checkpoint(saved["auto"], encoder=ToyEncoder())
    before = numbers(loaded)
    make_trainer().fit(loaded, data)
    assert numbers(loaded) == before
    assert "the normalizers keep the statistics of the checkpoint" in caplog.text
    assert "force std is" in caplog.text


def test_resumed_task_may_start_again(data, make_trainer, saved):
    task = force("auto")
    make_trainer(max_epochs=2).fit(task, data, ckpt_path=saved["auto"])
    for _, targets in data.samples:
        targets["force"] *= 100
    make_trainer().fit(task, data)


def test_changes_are_listed():
    now = {"a": {"mean": [1.0, 2.0], "std": 1.0, "per_atom": False, "references": {"H": 1.0}}}
    assert changed_numbers(now, now) == []
    rounded = {"a": now["a"] | {"mean": [1.0, 2.0 + 1e-7]}}
    assert changed_numbers(rounded, now) == []
    other = {"a": now["a"] | {"std": 3.0, "references": {"He": 1.0}}, "b": now["a"]}
    assert changed_numbers(other, now) == [
        "a std is 3.0 in the checkpoint and 1.0 now",
        "a references is {'He': 1.0} in the checkpoint and {'H': 1.0} now",
    ]
