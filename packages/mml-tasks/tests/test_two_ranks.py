"""One rank with a batch of eight structures equals two processes with three and five structures."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from mml_tasks.normalization.training_pass import statistics_of_batches
from mml_tasks.testing import ToyEncoder
from torch.utils.data import DataLoader

SCRIPT = Path(__file__).with_name("two_ranks.py")
spec = importlib.util.spec_from_file_location("rank_cases", SCRIPT.with_name("rank_cases.py"))
assert spec is not None
assert spec.loader is not None
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)

# On two ranks of a CPU, torch 2.8's fully_shard gives other gradients than DDP, for a few nn.Linear, too.
torch_shards_right = pytest.mark.skipif(
    torch.__version__.startswith("2.8."), reason="fully_shard of torch 2.8 averages wrongly over gloo"
)


def epoch_metrics(logged: dict[str, torch.Tensor]) -> dict[str, float]:
    """Leave out the metrics of single steps, which each rank logs for its own batch."""
    return {key: value.item() for key, value in logged.items() if not key.endswith("_step")}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory, on_two_ranks) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    on_two_ranks(SCRIPT, folder)
    return [
        torch.load(folder / f"rank{rank}.pt", weights_only=True) | {"folder": folder} for rank in range(2)
    ]


@pytest.mark.parametrize(
    ("how", "name"),
    [
        *[("steps", name) for name in cases.CASES],
        *[pytest.param("sharded", name, marks=torch_shards_right) for name in cases.SHARDED],
    ],
)
def test_loss_and_gradient_equal_one_rank(ranks, how, name):
    task = cases.make_task(name)
    loss = task.training_step(cases.collate(cases.samples_of(name)), 0)
    loss.backward()
    gradients = {key: p.grad for key, p in task.named_parameters() if p.grad is not None}
    for found in (rank[how][name] for rank in ranks):
        torch.testing.assert_close(found["loss"], loss.detach(), rtol=2e-5, atol=1e-6)
        assert found["gradients"].keys() == gradients.keys()
        for key, gradient in gradients.items():
            torch.testing.assert_close(found["gradients"][key], gradient, rtol=1e-4, atol=1e-5)
    largest = max(gradient.abs().max() for gradient in gradients.values())
    assert (largest == 0) == (name == "no labels at all")


@pytest.mark.parametrize("name", cases.ACCUMULATED)
def test_accumulated_gradients_equal_one_batch(ranks, name):
    task = cases.make_task(name)
    task.training_step(cases.collate(cases.samples_of(name)), 0).backward()
    for key, parameter in task.named_parameters():
        for rank in ranks:
            found = rank["accumulated"][name][key]
            torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", list(cases.FITS))
def test_run_equals_one_rank(ranks, name, tmp_path):
    task = cases.make_task(name)
    loader = DataLoader(cases.samples_of(name), batch_size=8, collate_fn=cases.collate)
    trainer = pl.Trainer(**cases.TRAINER, devices=1, default_root_dir=tmp_path)
    trainer.fit(task, loader, loader)
    logged = epoch_metrics(trainer.callback_metrics)
    assert {"train_loss", "val_loss"} < logged.keys()
    assert ("masked" in name) == any(key.endswith("_missing") for key in logged)
    for rank in ranks:
        found = epoch_metrics(rank["fit"][name]["logged"])
        assert found == pytest.approx(logged, rel=1e-3, abs=1e-5)
    first, second = (rank["fit"][name]["state"] for rank in ranks)
    for key, value in task.state_dict().items():
        assert torch.equal(first[key], second[key]), key
        if key.startswith("normalizers") and not key.endswith("references"):
            torch.testing.assert_close(first[key], value, rtol=1e-5, atol=1e-6)


def test_statistics_agree_across_ranks(ranks):
    loader = DataLoader(cases.samples_of("masked"), batch_size=8, collate_fn=cases.collate)
    expected = statistics_of_batches(loader, 100, ["energy"])
    for how in ("whole", "sharded"):
        found = ranks[0]["statistics"][how]
        assert found == ranks[1]["statistics"][how]
        for key, numbers in expected.items():
            for name, value in numbers.items():
                assert found[key][name] == (
                    value if isinstance(value, (str, int)) else pytest.approx(value, rel=1e-6)
                ), (key, name)


@torch_shards_right
@pytest.mark.parametrize("name", [name for name in cases.SHARDED_FITS if name != "force"])
def test_sharded_run_equals_one_rank(ranks, name, tmp_path):
    task = cases.make_task(name)
    loader = DataLoader(cases.samples_of(name), batch_size=8, collate_fn=cases.collate)
    trainer = pl.Trainer(**cases.TRAINER, devices=1, default_root_dir=tmp_path)
    trainer.fit(task, loader, loader)
    logged = epoch_metrics(trainer.callback_metrics)
    for rank in ranks:
        found = rank["sharded_fit"][name]
        assert found["in_parts"]
        assert epoch_metrics(found["logged"]) == pytest.approx(logged, rel=1e-3, abs=1e-5)
        for key, value in task.state_dict().items():
            torch.testing.assert_close(found["state"][key], value, rtol=1e-3, atol=1e-4, msg=key)
    file = ranks[0]["folder"] / f"{name}.ckpt"
    again = type(task).load_from_checkpoint(file, encoder=ToyEncoder())
    for key, value in again.state_dict().items():
        assert torch.equal(ranks[0]["sharded_fit"][name]["state"][key], value), key


def test_sharded_force_task_is_refused(ranks):
    for rank in ranks:
        assert "parameters sharded by FSDP do not have" in rank["sharded_fit"]["force"]["error"]


def test_rate_is_scaled_by_ranks(ranks):
    for rank in ranks:
        scaled = rank["scaled_rate"]
        assert scaled["lr"] == pytest.approx(0.01 * 2**0.5)
        assert scaled["lr/scaled"] == pytest.approx(0.01 * 2**0.5)
        assert scaled["effective_batch_size"] == 2 * 2 * 2


def test_error_reaches_all_ranks(ranks):
    for rank in ranks:
        assert "target 'energy' is inf in sample 'toy/000001'" in rank["error"]
