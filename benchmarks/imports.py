"""What importing each package costs, beside the import that it cannot do without.

Every package is imported in a fresh interpreter under `python -X importtime`, in turn with its yardstick
(torch, or pytorch_lightning for those that need Lightning). Printed are the medians, the ratio, and which of
the modules that must stay unloaded until they are used were loaded without the yardstick's doing.

    uv run python benchmarks/imports.py [--quick] [--json FILE]
"""

from __future__ import annotations

import statistics
import subprocess
import sys

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


def measure(module: str) -> tuple[float, set[str]]:
    """Import a module in a fresh interpreter; return the seconds it took and which lazy modules it loaded."""
    code = f"import {module}, sys; print(*(m for m in {LAZY!r} if m in sys.modules))"
    command = [sys.executable, "-X", "importtime", "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    cumulative = {name.strip(): int(total) for _, total, name in lines if total.strip().isdigit()}
    return cumulative[module] / 1e6, set(done.stdout.split())


def main() -> int:
    """Measure, print the table, and say with the exit status whether every limit holds."""
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
    print(f"limit: ratio at most {LIMIT}, nothing loaded early: {'holds' if good else 'DOES NOT HOLD'}")
    write_json(options.json, about, results)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
