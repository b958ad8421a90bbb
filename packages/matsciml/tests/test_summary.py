import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from matsciml.report.summary import hardware, peak_memory_mb, versions, write_json

STATUS = Path("/proc/self/status")


def test_json_has_null_for_infinite_values(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"a": float("nan"), "b": [1, float("inf")], 3: (0.5, "x"), "path": Path("here")})
    assert json.loads(path.read_text()) == {"a": None, "b": [1, None], "3": [0.5, "x"], "path": "here"}
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


@pytest.mark.skipif(not STATUS.is_file(), reason="/proc/self/status exists on Linux only")
def test_peak_memory_is_in_megabytes():
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    kernel = int(line.split()[1]) * 1024 / 1e6
    assert 0.9 * kernel < peak_memory_mb() < 10 * kernel  # it includes the peak before exec


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
