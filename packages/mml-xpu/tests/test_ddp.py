import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mml_xpu.ddp import default_backend

TWO_RANKS = Path(__file__).with_name("two_rank_fit.py")


def test_default_backend_matches_device(monkeypatch):
    assert default_backend(torch.device("cpu")) == "gloo"
    monkeypatch.setattr(torch.distributed, "is_xccl_available", lambda: True)
    assert default_backend(torch.device("xpu", 1)) == "xccl"
    monkeypatch.setattr(torch.distributed, "is_xccl_available", lambda: False)
    with pytest.raises(
        RuntimeError, match=r"does not have xccl.*--torch-backend=xpu torch\), or pass devices=1"
    ):
        default_backend(torch.device("xpu", 1))


def test_strategy_uses_named_backend(lightning):
    strategy = lightning.DDPXPUStrategy(process_group_backend="ccl")
    assert strategy._get_process_group_backend() == "ccl"


@pytest.fixture(scope="module")
def run_fit(tmp_path_factory):
    """Return a function that runs a fit on one and on two ranks, which use CPU devices as Intel GPUs."""
    done = {}

    def run(root):
        if root not in done:
            folder = tmp_path_factory.mktemp(root)
            for devices in ("1", "2"):
                command = [sys.executable, "-W", "ignore", str(TWO_RANKS), root, devices, str(folder)]
                finished = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
                assert finished.returncode == 0, finished.stderr
            done[root] = {
                path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")
            }
        return done[root]

    return run


def test_two_ranks_equal_one_process_with_double_batch(lightning, run_fit):
    results = run_fit(lightning.pl.__name__.split(".")[0])
    alone, first, second = results["1-0"], results["2-0"], results["2-1"]
    assert alone["strategy"] == "SingleXPUStrategy"
    assert first["strategy"] == second["strategy"] == "DDPXPUStrategy"
    assert first["backend"] == "gloo"
    assert first["parameters"] == second["parameters"]
    assert first["parameters"] == pytest.approx(alone["parameters"], abs=1e-6)
    assert sorted(first["samples"] + second["samples"]) == sorted(alone["samples"])
    mean = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert mean == pytest.approx(alone["losses"], abs=1e-6)


def test_strategy_uses_communication_hook(lightning, run_fit):
    results = run_fit(lightning.pl.__name__.split(".")[0])
    assert results["1-0"]["hook_calls"] == 0
    assert results["2-0"]["hook_calls"] == results["2-1"]["hook_calls"] > 0
