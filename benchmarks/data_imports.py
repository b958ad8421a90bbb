"""Frames per second and peak memory of imports, for benchmarks/data.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from harness import Timing

NUM_ATOMS = 20
FEW = 200

IMPORT = """
import json, sys, threading, time
from mml_data.convert import import_source
peak = 0
def watch():  # memory of this process without mapped files, every 20 ms
    global peak
    while True:
        with open("/proc/self/status") as file:
            peak = max([peak, *(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))])
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
start = time.perf_counter()
import_source(sys.argv[1], sys.argv[2], jobs=int(sys.argv[3]), overwrite=True)
print(json.dumps([time.perf_counter() - start, peak]))
"""

PARSE = {
    "extxyz": """
import json, sys, time
from ase.io import iread
start = time.perf_counter()
for atoms in iread(sys.argv[1], ":"):
    pass
print(json.dumps([time.perf_counter() - start, 0]))
""",
    "jsonl": """
import json, orjson, sys, time
start = time.perf_counter()
with open(sys.argv[1], "rb") as file:
    for line in file:
        orjson.loads(line)
print(json.dumps([time.perf_counter() - start, 0]))
""",
}
PARSERS = {"extxyz": "ASE's parser alone", "jsonl": "orjson alone"}


def measure_import(folder: Path, npz: Path, quick: bool, checks: dict[str, bool]) -> dict[str, Any]:
    """Print and return the frames per second of one and two processes, without their start-up time."""
    count, rounds = (10_000, 3) if quick else (40_000, 5)
    results: dict[str, Any] = {}
    for suffix, lines in (("extxyz", xyz_frame), ("jsonl", json_frame)):
        few, many = (write_frames(folder / f"{n}.{suffix}", n, lines) for n in (FEW, count))
        rates: dict[str, list[float]] = {PARSERS[suffix]: [], "one process": [], "two processes": []}
        for _ in range(rounds):
            rates[PARSERS[suffix]].append(count / run(PARSE[suffix], many)[0])
            for jobs, name in enumerate(("one process", "two processes"), 1):
                seconds = [run(IMPORT, file, folder / "imported", jobs)[0] for file in (few, many)]
                rates[name].append((count - FEW) / (seconds[1] - seconds[0]))
        timings = {name: Timing.of(found) for name, found in rates.items()}
        for name, timing in timings.items():
            print(f"{suffix:7} {name:20} {timing.show(digits=0)} frames of {NUM_ATOMS} atoms per second")
        one, two = timings["one process"].median, timings["two processes"].median
        print(f"{suffix:7} two processes compared with one: {two / one:.2f}")
        checks[f"at least 15,000 frames per second from {suffix} in one process"] = one >= 15_000
        checks[f"two processes import {suffix} at least 1.7 times as fast as one"] = two >= 1.7 * one
        results |= {f"{suffix}, {name}": timing for name, timing in timings.items()}
    return results


def measure_memory(folder: Path, npz: Path, quick: bool, checks: dict[str, bool]) -> dict[str, Any]:
    """Print and return the peak memory of imports of few and of many frames."""
    counts = (10_000, 100_000) if quick else (10_000, 1_000_000)
    peaks = []
    for count in counts:
        file = write_frames(folder / f"{count}.extxyz", count, xyz_frame)
        seconds, peak = run(IMPORT, file, folder / "imported")
        peaks.append(peak)
        print(f"{count:9,} frames of extended XYZ: {seconds:6.1f} s, peak memory {peak / 1e6:.0f} MB")
        file.unlink()
        shutil.rmtree(folder / "imported")
    growth = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    print(f"growth: {growth:.0f} bytes per frame")
    checks["an import's memory grows by less than 100 bytes per frame"] = growth < 100
    return {f"peak bytes, {count} frames": peak for count, peak in zip(counts, peaks, strict=True)}


def run(code: str, file: Path, dest: Path | None = None, jobs: int = 1) -> tuple[float, float]:
    """Run code in a process of its own, and return its seconds and its peak memory."""
    command = [sys.executable, "-W", "ignore", "-c", code, str(file), str(dest), str(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def write_frames(path: Path, count: int, as_text: Any) -> Path:
    """Write a file of `count` frames, of which 200 are different."""
    texts = [as_text(*frame) for frame in frames(min(count, 200))]
    with path.open("w", encoding="utf-8") as file:
        for index in range(count):
            file.write(texts[index % len(texts)])
    return path


def frames(count: int) -> Iterator[tuple[list[str], np.ndarray, np.ndarray, float, np.ndarray]]:
    """Yield symbols, cell, positions (at least 1.3 angstrom apart), energy and forces."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3) * 2.4
    for _ in range(count):
        positions = grid[rng.permutation(27)[:NUM_ATOMS]] + rng.uniform(-0.3, 0.3, (NUM_ATOMS, 3))
        forces = rng.normal(size=(NUM_ATOMS, 3))
        symbols = rng.choice(["Si", "O", "Al"], NUM_ATOMS).tolist()
        yield symbols, np.eye(3) * 7.2, positions, float(rng.normal(-100, 1)), forces


def xyz_frame(
    symbols: list[str], cell: np.ndarray, positions: np.ndarray, energy: float, forces: np.ndarray
) -> str:
    """Return a frame of an extended XYZ file."""
    lattice = " ".join(f"{value:.8f}" for value in cell.ravel())
    head = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:forces:R:3 energy={energy:.8f} pbc="T T T"'
    rows = [
        f"{symbol:3}" + "".join(f"{value:16.8f}" for value in (*position, *force))
        for symbol, position, force in zip(symbols, positions, forces, strict=True)
    ]
    return "\n".join([str(len(symbols)), head, *rows, ""])


def json_frame(
    symbols: list[str], cell: np.ndarray, positions: np.ndarray, energy: float, forces: np.ndarray
) -> str:
    """Return a line of a JSON lines file."""
    numbers = {"Si": 14, "O": 8, "Al": 13}
    frame = {
        "atomic_numbers": [numbers[symbol] for symbol in symbols],
        "positions": positions.round(8).tolist(),
        "cell": cell.tolist(),
        "targets": {"energy": round(energy, 8), "force": forces.round(8).tolist()},
    }
    return json.dumps(frame) + "\n"
