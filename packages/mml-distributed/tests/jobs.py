"""Run jobs one after the other on every rank of a launch: `check`, `fit` (fit.py) and `sharded` (sharded.py).

    python jobs.py FOLDER JOB...

The results of rank 0 of the job `fit` are in FOLDER/fit/0.json.
"""

import sys
from importlib import import_module
from pathlib import Path

import torch
from mml_distributed.command import main

folder, *jobs = sys.argv[1:]
for job in jobs:
    if job == "check":
        if status := main(["check", "--timeout", "60"]):
            sys.exit(status)
    else:
        Path(folder, job).mkdir(exist_ok=True)
        import_module(job).main(Path(folder, job))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
