import json
from importlib.metadata import version
from pathlib import Path

import torch
from matsciml.report.summary import hardware, peak_memory_mb, versions, write_json


def test_json_has_null_for_infinite_values(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"a": float("nan"), "b": [1, float("inf")], 3: (0.5, "x"), "path": Path("here")})
    assert json.loads(path.read_text()) == {"a": None, "b": [1, None], "3": [0.5, "x"], "path": "here"}
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_peak_memory_grows():
    before = peak_memory_mb()
    block = torch.ones(int(before / 4 * 1e6 * 1.5))  # float32: 1.5 times the peak so far
    assert peak_memory_mb() > before + block.numel() * 4e-6 / 4


def test_versions_equal_installed():
    assert versions()["torch"] == version("torch")


def test_hardware_describes_device():
    about = hardware(torch.device("cpu"), 2)
    assert (about["device"], about["devices"], about["threads"]) == ("cpu", 2, torch.get_num_threads())
    assert about["name"]


def test_run_summary_is_complete(runs):
    summary = json.loads((runs / "fit" / "summary.json").read_text())
    assert set(summary["test"]) == {"energy_per_atom", "force"}
    assert (summary["run"], summary["command"], summary["steps"]) == ("fit", "fit", 3)
    assert summary["checkpoint"].endswith("best.ckpt")
    assert summary["throughput"]
