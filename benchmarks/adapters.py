"""Cost of a training step with an adapter, compared with the bare model that it wraps.

The batch has four LiPS frames (83 atoms each, edges up to 5 angstrom). The loss uses energies and forces, so
gradients pass through the model twice. Precision is float32, the optimizer AdamW. An adapter and its bare
model run in separate processes, in the environment of the library, and take turns. The benchmark compares
processor time, which other processes on the machine disturb less than wall time. Create the environments with
`tools/peers mace-torch matgl nequip`.

    uv run python benchmarks/adapters.py [--quick] [--only ADAPTER] [--json FILE]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from encoders.face import Batch
from harness import Timing, describe_machine, parse_arguments, write_json
from models import HERE, PEERS, THREADS, plain_batch, start

PAIRS = (
    ("ViSNet", HERE),
    ("DimeNetPlusPlus", HERE),
    ("MACE", "mace-torch"),
    ("M3GNet", "matgl"),
    ("CHGNet", "matgl"),
    ("QET", "matgl"),
    ("NequIP", "nequip"),
    ("Allegro", "nequip"),
)
LIMIT = 1.03
FRAMES = 4


def first_frames(batch: Batch, count: int) -> Batch:
    """Return the first structures of a batch."""
    atoms = int((batch.structure < count).sum())
    edges = batch.edges[0] < atoms
    return Batch(
        numbers=batch.numbers[:atoms],
        positions=batch.positions[:atoms],
        force=batch.force[:atoms],
        edges=batch.edges[:, edges],
        offsets=batch.offsets[edges],
        structure=batch.structure[:atoms],
        energy=batch.energy[:count],
    )


def compare(name: str, python: str | Path, path: Path, repeats: int) -> tuple[list[float], list[float]]:
    """Return the processor seconds per step of the adapter and of the bare model, measured in turns."""
    runners = [start("adapters", python, kind, path) for kind in (name, f"bare-{name}")]
    try:
        for repeat in range(3 + repeats):
            for runner in runners:
                seconds = runner.ask()["cpu"]
                if repeat >= 3:  # warm-up
                    runner.seconds.append(seconds)
    finally:
        for runner in runners:
            runner.process.kill()
    return runners[0].seconds, runners[1].seconds


def main() -> int:
    """Measure, print the table, and return 1 if a limit is not met."""
    options = parse_arguments(__doc__, tuple(name for name, _ in PAIRS))
    torch.set_num_threads(THREADS)
    about = describe_machine("torch", "mml-models")
    results: dict[str, Any] = {}
    good = True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch.npz"
        frames = 1 if options.quick else FRAMES
        batch = first_frames(plain_batch(), frames)
        batch.save(path)
        print(
            f"{frames} structures, {len(batch.numbers)} atoms, {batch.edges.shape[1]} edges; "
            f"{THREADS} threads"
        )
        print("\n| adapter | step, ms of processor time | bare model | ratio |\n|---|---|---|---|")
        wanted = options.only or (PAIRS[0][0] if options.quick else None)
        for name, environment in PAIRS:
            if wanted not in (name, None):
                continue
            python = PEERS / environment / "bin" / "python" if environment else sys.executable
            if environment and not Path(python).exists():
                print(f"| {name} | not installed: run tools/peers {environment} | | |")
                continue
            ours, theirs = compare(name, python, path, 7 if options.quick else 21)
            ratio = statistics.median(ours) / statistics.median(theirs)
            good &= ratio <= LIMIT
            timings = Timing.of(ours), Timing.of(theirs)
            print(
                f"| {name} | {timings[0].show(1e3, 0)} | {timings[1].show(1e3, 0)} | {ratio:.2f} |",
                flush=True,
            )
            results |= {name: timings[0], f"{name}: bare": timings[1], f"{name}: ratio": ratio}
    print(f"\nlimit: ratio at most {LIMIT}: {'met' if good else 'NOT MET'}")
    write_json(options.json, about, results)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
