"""Fits on two ranks with the progress bar and all default callbacks end before a deadline."""

from __future__ import annotations

import json
import math
import shlex
import socket
from pathlib import Path

import pytest
from support import ROOT, launch

HERE = Path(__file__).parent
DEADLINE = 180  # seconds for a launch; a busy machine needs long to start two ranks
DEADLINE_OF_A_FIT = 60


def run(command: str, folder: Path) -> str:
    status, output = launch(*shlex.split(command), folder=folder, deadline=DEADLINE)
    assert status == 0, output
    return output


def test_documented_command_ends(tmp_path):
    documented = "mpirun -n 4 matsciml fit --trainer.strategy ddp_with_mpi --trainer.devices 4"
    assert documented in (ROOT / "docs" / "best-practices.md").read_text()
    two = documented.replace("4", "2")
    run(f"{two} --trainer.max_epochs 1 --trainer.accelerator cpu", tmp_path)
    assert (tmp_path / "runs").is_dir()


@pytest.mark.slow
def test_torchrun_ends(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run(
        f"python -m torch.distributed.run --nproc-per-node 2 --master-addr 127.0.0.1 --master-port {port} "
        "-m matsciml fit --trainer.strategy ddp --trainer.devices 2 --trainer.accelerator cpu "
        "--trainer.max_epochs 2 --trainer.limit_train_batches 4 --trainer.limit_val_batches 2 "
        "--trainer.val_check_interval 0.5 "  # then the end of an epoch computes no metric for best.ckpt
        "--trainer.callbacks+=pytorch_lightning.callbacks.TQDMProgressBar",
        tmp_path,
    )


@pytest.mark.slow
def test_tasks_and_callbacks_end(tmp_path):
    output = run(f"mpirun -n 2 python {HERE / 'rank_matrix.py'} {tmp_path} {DEADLINE_OF_A_FIT}", tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first.keys() == second.keys()
    for name, metrics in first.items():
        assert {"train_loss", "val_loss"} <= metrics.keys(), name
        assert metrics.keys() == second[name].keys(), name
        for key, value in metrics.items():
            if not key.endswith("_step"):  # these concern each rank's own batch
                assert math.isfinite(value), (name, key)
                assert value == second[name][key], (name, key)
    assert len(first) >= 22, output
