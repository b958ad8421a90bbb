"""Cost of finding the edges of a batch on a device, compared with the compiled search on the CPU, one by one.

Batches of real structures come from ../shared/data if that folder is available, otherwise from the embedded
data sets. Larger cells are disordered cubic lattices with 0.1 atoms per cubic angstrom. The cutoff is 6
angstrom. Each case runs in a separate process on one thread, which also measures its peak memory beyond its
imports. The table shows medians with their range, the ratio to `find_edges`, and the peak as a multiple of
the size of the result.

    uv run python benchmarks/edges_on_device.py [--quick] [--json FILE] [--device cpu|cuda|xpu]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Timing, describe_machine, parse_arguments, write_json
from mml_data import LMDBDataset, devset_path
from mml_graphs import find_edges, periodic_edges_batch
from numpy.typing import NDArray

CUTOFF = 6.0
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BATCHES = {
    "64 crystals": ("materials_project", "prototypes", 64),
    "16 frames": ("lips", "emt", 16),
}
SIDES = {"10^3 atoms": 10, "2*10^4 atoms": 27}
CASES = (*BATCHES, *SIDES)
Structure = tuple[NDArray[np.float64], NDArray[np.float64], tuple[bool, bool, bool]]


def structures(case: str) -> list[Structure]:
    """Return the positions, cell and pbc of the structures of a case."""
    if case in SIDES:
        side = SIDES[case]
        sites = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        noise = np.random.default_rng(0).uniform(-0.25, 0.25, sites.shape)
        spacing = 0.1 ** (-1 / 3)
        return [((sites + noise) * spacing, np.eye(3) * side * spacing, (True, True, True))]
    name, embedded, number = BATCHES[case]
    path = DATA / f"{name}.jsonl"
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            entries = [json.loads(line) for line, _ in zip(lines, range(number), strict=False)]
        return [(np.array(e["positions"]), np.array(e["cell"]), tuple(e["pbc"])) for e in entries]
    samples = LMDBDataset(devset_path(embedded))
    return [
        (
            np.array(s["pos"], dtype=np.float64),
            np.array(s["cell"], dtype=np.float64).reshape(3, 3),
            (True,) * 3,
        )
        for s in (samples[index] for index in range(number))
    ]


def tensors(
    cases: list[Structure], device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the arguments of `periodic_edges_batch`, in float32."""
    positions, cells, pbc = zip(*cases, strict=True)
    batch = np.repeat(np.arange(len(cases)), [len(p) for p in positions])
    return (
        torch.tensor(np.concatenate(positions), dtype=torch.float32, device=device),
        torch.tensor(np.stack(cells), dtype=torch.float32, device=device),
        torch.tensor(pbc, device=device),
        torch.tensor(batch, device=device),
    )


def repeat(action: Callable[[], Any], repeats: int) -> list[float]:
    """Time an action after one warm-up run."""
    action()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return seconds


def peak_memory(device: str) -> int:
    """Return the peak memory of this process on the device, in bytes (on a CPU, Linux only)."""
    if device != "cpu":
        return int(torch.get_device_module(device).max_memory_allocated())
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(case: str, device: str, repeats: int) -> dict[str, Any]:
    """Measure one case in this process."""
    torch.set_num_threads(1)
    cases = structures(case)
    arguments = tensors(cases, device)
    some = arguments[3] == 0
    small = (arguments[0][some][:64], arguments[1][:1], arguments[2][:1], arguments[3][some][:64])
    periodic_edges_batch(*small, CUTOFF)
    before = peak_memory(device)

    def on_device() -> int:
        # Reading a value waits until the device has finished.
        return len(periodic_edges_batch(*arguments, CUTOFF).src.cpu())

    edges = periodic_edges_batch(*arguments, CUTOFF)
    result = {
        "atoms": len(arguments[0]),
        "edges": len(edges.src),
        "returned": sum(value.nbytes for value in edges),
        "peak": peak_memory(device) - before,
    }
    del edges

    def one_by_one() -> None:
        for structure in cases:
            find_edges(*structure, CUTOFF)

    return {**result, "device": repeat(on_device, repeats), "one by one": repeat(one_by_one, repeats)}


def main() -> int:
    """Measure every case and print the table."""
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
        return 0
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device", default="cpu")
    own, sys.argv[1:] = parser.parse_known_args()
    device: str = own.device
    options = parse_arguments(__doc__)
    about = {**describe_machine("torch", "mml-graphs"), "device": device}
    if device == "cuda":
        about["device"] = torch.cuda.get_device_name()
    print(f"device: {about['device']}, cutoff {CUTOFF} angstrom")
    print(
        f"{'case':13} {'atoms':>6} {'edges':>8}  {'periodic_edges_batch, ms':26} "
        f"{'find_edges one by one, ms':26} {'ratio':>5}  peak memory"
    )
    results: dict[str, Any] = {}
    for case in CASES:
        command = [sys.executable, __file__, "--measure", case, device, "3" if options.quick else "15"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout)
        batch, single = Timing.of(found.pop("device")), Timing.of(found.pop("one by one"))
        ratio, share = batch.median / single.median, found["peak"] / found["returned"]
        results |= {
            case: found,
            f"{case}: batch": batch,
            f"{case}: one by one": single,
            f"{case}: ratio": ratio,
        }
        print(
            f"{case:13} {found['atoms']:6} {found['edges']:8}  {batch.show(1e3):26} {single.show(1e3):26} "
            f"{ratio:5.2f}  {found['peak'] / 1e6:.0f} MB, {share:.1f} times the result"
        )
    write_json(options.json, about, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
