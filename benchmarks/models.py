"""Cost of a training step of each encoder, compared with the same architecture in other libraries.

The batch has 16 LiPS frames (83 atoms each, edges up to 5 angstrom). The loss uses energies and forces, so
gradients pass through the encoder twice. Precision is float32, the optimizer AdamW, with 64 channels, 3
layers and 20 radial functions. Every encoder runs in a separate process with 2 threads, and the processes
take turns, step by step. Memory is the growth of the process during training. Create the environments of the
peers with `tools/peers schnetpack matgl`. Missing peers are listed.

    uv run python benchmarks/models.py [--quick] [--json FILE]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from encoders.face import Batch
from harness import Timing, describe_machine, parse_arguments, write_json
from tasks_step import lips_batch

THREADS = 2
ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(os.environ.get("MML_PEERS", ROOT / ".peers"))
HERE = ""
# Module, environment, encoder.
CONTENDERS = (
    ("ours", HERE, "SchNet"),
    ("pyg", HERE, "SchNet"),
    ("schnetpack", "schnetpack", "SchNet"),
    ("ours", HERE, "PaiNN"),
    ("schnetpack", "schnetpack", "PaiNN"),
    ("ours", HERE, "EGNN"),
    ("ours", HERE, "MEGNet"),
    ("ours", HERE, "TensorNet"),
    ("matgl", "matgl", "TensorNet"),
)
# Encoder, reference, largest ratio.
TIMES = (
    ("ours SchNet", "schnetpack SchNet", 0.6),
    ("ours SchNet", "pyg SchNet", 0.7),
    ("ours PaiNN", "schnetpack PaiNN", 0.7),
    ("ours EGNN", "ours SchNet", 1.2),
    ("ours TensorNet", "matgl TensorNet", 0.35),
)
MEMORY = (("ours SchNet", "schnetpack SchNet", 0.6),)


@dataclass
class Runner:
    """The process of an encoder and its answers."""

    process: subprocess.Popen[str]
    about: dict[str, Any]
    seconds: list[float]

    def ask(self) -> dict[str, Any]:
        """Start one step."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Read one line, or raise a RuntimeError if the process ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def finish(self) -> dict[str, Any]:
        """Close its input, and return its last answer."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.answer()


def plain_batch() -> Batch:
    """Return the arrays of the LiPS batch."""
    batch = lips_batch()
    graph = batch["graph"]
    return Batch(
        numbers=graph.atomic_numbers,
        positions=graph.pos,
        force=batch["targets"]["force"],
        edges=graph.edge_index,
        offsets=graph.offsets,
        structure=graph.batch,
        energy=batch["targets"]["energy"].flatten(),
    )


def start(module: str, python: str | Path, encoder: str, path: Path) -> Runner:
    """Start a process, and wait until it is ready."""
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    environment |= {"PYTHONPATH": str(ROOT / "benchmarks"), "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}
    command = [python, "-P", "-m", "encoders.worker", module, encoder, path, str(THREADS)]
    with path.with_name(f"{module}-{encoder}.log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    runner = Runner(process, {}, [])
    try:
        runner.about = runner.answer()
    except RuntimeError as error:
        last = path.with_name(f"{module}-{encoder}.log").read_text().strip().splitlines()[-1:]
        raise RuntimeError(f"{module} {encoder}: {error}: {' '.join(last)}") from None
    return runner


def start_all(path: Path) -> dict[str, Runner]:
    """Start the encoders whose environments exist, and print the others."""
    runners = {}
    for module, environment, encoder in CONTENDERS:
        python = PEERS / environment / "bin" / "python" if environment else sys.executable
        if environment and not Path(python).exists():
            print(f"{module} is not installed: run tools/peers {environment}")
            continue
        runners[f"{module} {encoder}"] = start(module, python, encoder, path)
    return runners


def judge(what: str, values: dict[str, float], wanted: tuple[tuple[str, str, float], ...]) -> bool:
    """Print each ratio with its limit, and return whether all limits are met."""
    good = True
    for ours, theirs, limit in wanted:
        if ours in values and theirs in values:
            ratio = values[ours] / values[theirs]
            good &= ratio <= limit
            verdict = "met" if ratio <= limit else "NOT MET"
            print(f"{what} of {ours} / {theirs}: {ratio:.2f}, limit {limit:g}: {verdict}")
    return good


def main() -> int:
    """Measure, and return 1 if a limit is not met."""
    options = parse_arguments(__doc__)
    torch.set_num_threads(THREADS)
    about = describe_machine("torch", "mml-models")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch.npz"
        batch = plain_batch()
        batch.save(path)
        print(
            f"{int(batch.structure.max()) + 1} structures, {len(batch.numbers)} atoms, "
            f"{batch.edges.shape[1]} edges; {THREADS} threads"
        )
        runners = start_all(path)
        try:
            for repeat in range(2 + (7 if options.quick else 31)):
                for runner in runners.values():
                    seconds = runner.ask()["seconds"]
                    if repeat >= 2:  # warm-up
                        runner.seconds.append(seconds)
            memory = {name: float(runner.finish()["bytes"]) for name, runner in runners.items()}
        finally:
            for runner in runners.values():
                runner.process.kill()
    timings = {name: Timing.of(runner.seconds) for name, runner in runners.items()}
    print("\n| encoder | parameters | step, ms | memory, MB | versions |\n|---|---|---|---|---|")
    for name, runner in runners.items():
        versions = ", ".join(f"{key} {value}" for key, value in runner.about["about"].items())
        print(
            f"| {name} | {runner.about['parameters']:,} | {timings[name].show(1e3, 0)} "
            f"| {memory[name] / 1e6:.0f} | {versions} |"
        )
    print()
    good = judge("step", {name: timing.median for name, timing in timings.items()}, TIMES)
    good &= judge("memory", memory, MEMORY)
    results: dict[str, Any] = {f"{name}: step": timing for name, timing in timings.items()}
    write_json(options.json, about, results | {f"{name}: memory": value for name, value in memory.items()})
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
