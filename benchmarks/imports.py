"""Cost of importing each package, and of starting light commands of `matsciml`.

The first table compares the import of each package with the import that it requires: torch, or
pytorch_lightning for packages that use Lightning. Every package is imported in a new interpreter under
`python -X importtime`, in turn with its yardstick. The table shows medians, their ratio, and the libraries
that the package loads although they must stay unloaded until they are used.

The second table shows the processor time (user and system) and the peak memory of whole processes.

    uv run python benchmarks/imports.py [--quick] [--json FILE]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import Timing, describe_machine, parse_arguments, write_json

YARDSTICK = {
    "mml_graphs": "torch",
    "mml_models": "torch",
    "mml_data": "pytorch_lightning",
    "mml_tasks": "pytorch_lightning",
    "mml_xpu": "pytorch_lightning",
    "mml_distributed": "pytorch_lightning",
    "mml_diagnostics": "pytorch_lightning",
    "matsciml": "pytorch_lightning",
}
LAZY = ("ase", "dgl", "matplotlib", "pymatgen.core", "torch_geometric", "wandb")
LIMIT = 1.25

MATSCIML = str(Path(sys.executable).with_name("matsciml"))
PROCESSES = {
    "import torch": [sys.executable, "-c", "import torch"],
    "import pytorch_lightning": [sys.executable, "-c", "import pytorch_lightning"],
    "import matsciml": [sys.executable, "-c", "import matsciml"],
    "import matsciml, pytorch_lightning": [sys.executable, "-c", "import matsciml, pytorch_lightning"],
    "matsciml --help": [MATSCIML, "--help"],
    "matsciml fit --help": [MATSCIML, "fit", "--help"],
    "matsciml init mine": [MATSCIML, "init", "mine"],
    "matsciml data info emt": [MATSCIML, "data", "info", "emt"],
    "matsciml data stats emt": [MATSCIML, "data", "stats", "emt"],
}
LIGHT_LIMIT = 1.5
"""Largest processor time of a command that needs no tensors, in seconds."""

WITH_TORCH = "matsciml data stats emt"
"""A command that reads samples, and therefore imports torch."""


def measure(module: str) -> tuple[float, set[str]]:
    """Import a module in a new interpreter, and return the seconds and the lazy modules that it loaded."""
    code = f"import {module}, sys; print(*(m for m in {LAZY!r} if m in sys.modules))"
    command = [sys.executable, "-X", "importtime", "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    cumulative = {name.strip(): int(total) for _, total, name in lines if total.strip().isdigit()}
    return cumulative[module] / 1e6, set(done.stdout.split())


def spend(command: list[str]) -> tuple[float, float]:
    """Run a command in an empty directory, and return its processor seconds and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return usage.ru_utime + usage.ru_stime, peak / 1e6


def show_processes(repeats: int, results: dict[str, object]) -> bool:
    """Print the table of processes, and return whether all limits are met."""
    spent: dict[str, list[tuple[float, float]]] = {label: [] for label in PROCESSES}
    for _ in range(repeats):
        for label, command in PROCESSES.items():
            spent[label].append(spend(command))
    print(f"\n{'process':36} {'processor seconds, median (range)':36} MB")
    seconds: dict[str, Timing] = {}
    for label, each in spent.items():
        seconds[label] = Timing.of([used for used, _ in each])
        peak = statistics.median([memory for _, memory in each])
        results |= {f"{label}: processor seconds": seconds[label], f"{label}: MB": peak}
        print(f"{label:36} {seconds[label].show():36} {peak:4.0f}")
    commands = {label for label in seconds if label.startswith("matsciml ")}
    allowed = dict.fromkeys(commands, LIGHT_LIMIT) | {
        WITH_TORCH: LIMIT * seconds["import torch"].median,
        "import matsciml, pytorch_lightning": LIMIT * seconds["import pytorch_lightning"].median,
    }
    good = all(seconds[label].median <= limit for label, limit in allowed.items())
    print(
        f"limits: {LIGHT_LIMIT} s, or {LIMIT} times torch or pytorch_lightning if they are imported: "
        f"{'met' if good else 'NOT MET'}"
    )
    return good


def main() -> int:
    """Print both tables, and return 1 if a limit is not met."""
    options = parse_arguments(__doc__)
    about = describe_machine("torch", "pytorch-lightning")
    repeats = 2 if options.quick else 7
    modules = ["mml_graphs", "mml_tasks"] if options.quick else list(YARDSTICK)
    print(f"{'package':16} {'seconds, median (range)':26} {'yardstick':18} {'seconds':22} ratio  loads early")
    results: dict[str, object] = {}
    good = True
    for module in modules:
        own: list[float] = []
        base: list[float] = []
        for _ in range(repeats):
            seconds, loaded = measure(module)
            own.append(seconds)
            seconds, anyway = measure(YARDSTICK[module])
            base.append(seconds)
        early = sorted(loaded - anyway)
        ratio = statistics.median(own) / statistics.median(base)
        good &= ratio <= LIMIT and not early
        own_timing, base_timing = Timing.of(own), Timing.of(base)
        results |= {
            module: own_timing,
            f"{module}: {YARDSTICK[module]}": base_timing,
            f"{module}: ratio": ratio,
        }
        print(
            f"{module:16} {own_timing.show():26} {YARDSTICK[module]:18} {base_timing.show():22} "
            f"{ratio:5.2f}  {', '.join(early) or '-'}"
        )
    print(f"limits: ratio at most {LIMIT}, nothing loaded early: {'met' if good else 'NOT MET'}")
    good &= show_processes(repeats, results)
    write_json(options.json, about, results)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
