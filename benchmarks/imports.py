"""Cost of importing each package, and of starting light commands of `matsciml`.

The first table compares the import of each package with the import of the largest library that it requires,
its yardstick: numpy, torch or pytorch_lightning. Packages that load no library are compared with bare Python,
whose import takes no time. Every package is imported in a new interpreter under `python -X importtime`, in
turn with its yardstick. The table shows medians, their ratio, and the libraries that the package loads
although they must stay unloaded until they are used.

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
    "mml_samples": "numpy",
    "mml_graphs": "torch",
    "mml_models": "torch",
    "mml_data": "numpy",
    "mml_tasks": "pytorch_lightning",
    "mml_xpu": None,
    "mml_distributed": None,
    "mml_diagnostics": "pytorch_lightning",
    "matsciml": None,
}
"""Largest library that each package imports. None stands for bare Python."""

LAZY = ("ase", "dgl", "matplotlib", "pymatgen.core", "torch_geometric", "wandb")
LIBRARIES = ("numpy", "torch", "pytorch_lightning")
LIMIT = 1.25
"""Largest ratio of a package and its yardstick."""

MARGIN = 0.1
"""Seconds that a package may take more than its yardstick, whatever the ratio."""

MATSCIML = str(Path(sys.executable).with_name("matsciml"))
PROCESSES = {
    "bare Python": [sys.executable, "-c", ""],
    "import torch": [sys.executable, "-c", "import torch"],
    "import pytorch_lightning": [sys.executable, "-c", "import pytorch_lightning"],
    "import matsciml": [sys.executable, "-c", "import matsciml"],
    "import matsciml, pytorch_lightning": [sys.executable, "-c", "import matsciml, pytorch_lightning"],
    "matsciml --help": [MATSCIML, "--help"],
    "matsciml fit --help": [MATSCIML, "fit", "--help"],
    "matsciml init mine": [MATSCIML, "init", "mine"],
    "matsciml data info emt": [MATSCIML, "data", "info", "emt"],
    "matsciml data stats emt": [MATSCIML, "data", "stats", "emt"],
    "matsciml data show emt": [MATSCIML, "data", "show", "emt"],
    "matsciml data verify emt": [MATSCIML, "data", "verify", "emt"],
}
LIGHT_LIMIT = 1.5
"""Largest processor time of a command that needs no tensors, in seconds."""


def measure(module: str) -> tuple[float, set[str]]:
    """Import a module in a new interpreter, and return the seconds and the lazy modules that it loaded."""
    code = f"import {module}, sys; print(*(m for m in {(*LAZY, *LIBRARIES)!r} if m in sys.modules))"
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
        "import matsciml": seconds["bare Python"].median + MARGIN,
        "import matsciml, pytorch_lightning": LIMIT * seconds["import pytorch_lightning"].median,
    }
    good = all(seconds[label].median <= limit for label, limit in allowed.items())
    print(
        f"limits: {LIGHT_LIMIT} s for commands, {MARGIN} s more than bare Python for matsciml, {LIMIT} times "
        f"pytorch_lightning for both: {'met' if good else 'NOT MET'}"
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
        yardstick = YARDSTICK[module]
        own: list[float] = []
        base: list[float] = []
        loaded, anyway = set[str](), set[str]()
        for _ in range(repeats):
            seconds, loaded = measure(module)
            own.append(seconds)
            if yardstick is not None:
                seconds, anyway = measure(yardstick)
                base.append(seconds)
        early = sorted(loaded - anyway)
        own_timing, base_timing = Timing.of(own), Timing.of(base or [0.0])
        good &= (
            own_timing.median <= max(LIMIT * base_timing.median, base_timing.median + MARGIN) and not early
        )
        results[module] = own_timing
        if yardstick is not None:
            results |= {
                f"{module}: {yardstick}": base_timing,
                f"{module}: ratio": own_timing.median / base_timing.median,
            }
        ratio = f"{own_timing.median / base_timing.median:5.2f}" if yardstick is not None else "    -"
        print(
            f"{module:16} {own_timing.show():26} {yardstick or 'bare Python':18} "
            f"{base_timing.show() if yardstick is not None else '-':22} {ratio}  {', '.join(early) or '-'}"
        )
    print(
        f"limits: ratio at most {LIMIT}, or at most {MARGIN} s more; nothing loaded early: "
        f"{'met' if good else 'NOT MET'}"
    )
    good &= show_processes(repeats, results)
    write_json(options.json, about, results)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
