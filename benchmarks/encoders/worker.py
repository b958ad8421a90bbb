"""The process of one encoder: `python -P -m encoders.worker MODULE NAME BATCH.npz THREADS`.

It answers with lines of JSON: first its description, then, for each line that it reads, the wall time and the
processor time of a step in seconds. At the end of the input it prints its peak memory.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time

import torch

from encoders.face import Batch, training_step


def main() -> None:
    """Serve until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # keeps the output of libraries out of the answers
    warnings.simplefilter("ignore")
    module_name, name, path, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    module = importlib.import_module(f"encoders.{module_name}")
    batch = Batch.load(Path(path))
    contender = module.CONTENDERS[name](batch)
    step = training_step(contender, batch)
    before = _peak_memory()
    about = {package: version(package) for package in module.PACKAGES}
    parameters = sum(p.numel() for p in contender.module.parameters())
    print(json.dumps({"about": about, "parameters": parameters}), file=answers)
    for _ in sys.stdin:
        started, busy = perf_counter(), process_time()
        loss = step()
        answer = {"seconds": perf_counter() - started, "cpu": process_time() - busy, "loss": loss}
        print(json.dumps(answer), file=answers)
    print(json.dumps({"bytes": _peak_memory() - before}), file=answers)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
