"""Several packages run together under the launcher of MPICH, which the test group installs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import ROOT, mpiexec

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_xpu_ranks_equal_double_batch(tmp_path):
    """A fit with `Trainer(accelerator="xpu", strategy="ddp_with_xpu")`, with CPUs in place of the GPUs."""
    script = HERE / "xpu_ranks.py"
    subprocess.run([sys.executable, "-W", "ignore", str(script), str(tmp_path)], check=True, timeout=240)
    status, output = mpiexec(2, "-W", "ignore", script, tmp_path)
    assert status == 0, output
    alone, first, second = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")
    )
    assert alone["strategy"] == "SingleXPUStrategy"
    assert {one["strategy"] for one in (first, second)} == {"MPIDDPStrategy"}
    assert {one["accelerator"] for one in (alone, first, second)} == {"CPUsCalledXPU"}
    assert {one["checkpoint_io"] for one in (alone, first, second)} == {"PortableCheckpointIO"}
    assert first["backend"] == "gloo"
    assert first["parameters"] == second["parameters"] == pytest.approx(alone["parameters"], abs=1e-6)
    together = [sorted(mine + theirs) for mine, theirs in zip(first["seen"], second["seen"], strict=True)]
    assert together == alone["seen"]
    mean = [(mine + theirs) / 2 for mine, theirs in zip(first["losses"], second["losses"], strict=True)]
    assert mean == pytest.approx(alone["losses"], abs=1e-6)
    state = torch.load(tmp_path / "2.ckpt", weights_only=True)["state_dict"]
    assert [value.item() for value in state.values()] == first["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mpi_train.py", "xpu_ddp_mpi.py"])
def test_examples_run_on_two_ranks(name, tmp_path):
    status, output = mpiexec(2, ROOT / "examples" / name, folder=tmp_path)
    assert status == 0, output
    assert output.count("2 process(es)") == 1, "only rank zero must print"
