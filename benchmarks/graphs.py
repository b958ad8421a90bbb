"""Cost of converting a structure to a graph, compared with the bare search and with other libraries.

Every library runs in a separate process on one thread, with the same structures in memory. The libraries take
turns, round by round. `tools/peers` creates the environments of libraries that need a separate one. Missing
libraries are listed. The tables are Markdown.

    uv run python benchmarks/graphs.py [--quick] [--json FILE] [--only sets|scaling|memory|adaptive]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from contenders.child import environment
from contenders.face import CUTOFF, save
from contenders.report import Report, milliseconds, print_table
from contenders.structures import CLOSEST, DENSITY, lonely_atom, random_cell, small_and_middling
from contenders.turns import Entry, Series, Team, count_edges, take_turns
from harness import describe_machine, parse_arguments, write_json
from numpy.typing import NDArray

PARTS = ("sets", "scaling", "memory", "adaptive")
HERE = {"ours": "", "bare": "", "loops": ""}
PEERS = {
    "matgl": "matgl",
    "nequip": "nequip",
    "mace": "mace-torch",
    "fairchem": "fairchem-core",
    "orb": "orb-models",
    "schnetpack": "schnetpack",
}
QUICK = ("matgl", "orb-models")  # the two fastest peers, to keep a quick run short
ALLOWANCE = 150e-6  # seconds that a graph may take in addition to twice the bare search
LIMIT = "ratio to 2 x the faster bare search + 0.15 ms"
BATCH = {"small": 32, "middling": 16}
# Required speedups: over the loops, over the best peer one at a time, over the best peer's batches.
WANTED = {"small": (12.0, 1.5, 3.0), "middling": (40.0, 1.5, 1.7)}
# Largest cells of contenders that take gigabytes or minutes below 10^5 atoms.
LARGEST = {
    "loops": 1_000,
    "fairchem-core": 1_000,
    "mace-torch": 10_000,
    "nequip": 10_000,
    "orb-models": 10_000,
    "schnetpack": 10_000,
}
ATOMS_A_TURN = 2_000  # a turn has several small cells, so that it takes longer than waking up the process
MEMORY_RATIO, EXPONENT, GROWTH = 3.0, 1.1, 3.0


def fastest(series: dict[Entry, Series], names: Iterable[str]) -> tuple[str, float]:
    """Return the label and the median of the fastest entry of these contenders."""
    medians = {entry.label: s.timing.median for entry, s in series.items() if entry.child.name in names}
    label = min(medians, key=lambda key: medians[key], default="no peer is installed")
    return label, medians.get(label, float("nan"))


def limits(series: dict[Entry, Series]) -> NDArray[np.float64]:
    """Return the allowed seconds per structure: twice its faster bare search plus the allowance."""
    searches = [s.each for entry, s in series.items() if entry.child.name == "bare"]
    return 2 * np.min(searches, axis=0) + ALLOWANCE


def measure_set(report: Report, team: Team, group: str, title: str, rounds: int) -> None:
    """Compare all contenders on a set of structures, one at a time and in batches."""
    edges, failed = count_edges(team.entries, group)
    ours = next(entry for entry in team.entries if entry.child.name == "ours")
    if ours in failed:
        raise SystemExit(f"{ours.label}: {failed[ours]}")
    ready = [entry for entry in team.entries if entry not in failed]
    one, failed_one = take_turns(ready, "convert", group, rounds)
    batching = [entry for entry in one if entry.child.methods[entry.method]]
    many, failed_many = take_turns(batching, "collate", group, rounds, BATCH[group])
    failed |= failed_one | failed_many

    print(f"\n### {title}\n\n{np.mean(edges[ours]):.1f} edges per structure within {CUTOFF:g} angstrom.\n")
    rows = []
    for entry in team.entries:
        if entry in failed:
            rows.append((entry.label, failed[entry], "", "", "", ""))
            continue
        wrong = sum(a != b for a, b in zip(edges[entry], edges[ours], strict=True))
        excess = sum(edges[entry]) - sum(edges[ours])
        rows.append(
            (
                entry.label,
                milliseconds(one[entry].timing),
                f"{one[entry].timing.median / one[ours].timing.median:.2f}",
                milliseconds(many[entry].timing) if entry in many else "-",
                f"{many[entry].timing.median / many[ours].timing.median:.2f}" if entry in many else "-",
                f"{excess:+d} in {wrong} structures" if wrong else "same",
            )
        )
        report.results[f"{title}, one at a time, {entry.label}"] = one[entry].timing
        if entry in many:
            report.results[f"{title}, batch of {BATCH[group]}, {entry.label}"] = many[entry].timing
    rows += [(name, reason, "", "", "", "") for name, reason in team.absent.items()]
    head = (
        "library: way",
        "ms per structure",
        "ratio to ours",
        f"ms per batch of {BATCH[group]}",
        "ratio to ours",
        "edges",
    )
    print_table(head, rows)

    loops, single, batched = WANTED[group]
    allowed = limits(one)
    for entry in (e for e in one if e.child.name == "ours"):
        own, name = one[entry], f"{title}, ours from {entry.method}"
        within = f"met by {np.mean(own.each <= allowed):.0%} of the structures"
        report.at_most(f"{name}: {LIMIT}", own.each.mean() / allowed.mean(), 1.0, within)
        label, median = fastest(one, ("loops",))
        report.at_least(f"{name}: speedup over {label}", median / own.timing.median, loops)
        label, median = fastest(one, PEERS.values())
        ratio = median / own.timing.median
        report.at_least(f"{name}: speedup over the best peer, one at a time", ratio, single, label)
        label, median = fastest(many, PEERS.values())
        ratio = median / many[entry].timing.median if entry in many else float("nan")
        report.at_least(f"{name}: speedup over the best peer, in batches", ratio, batched, label)


def measure_scaling(report: Report, team: Team, sizes: list[int], rounds: int, peers_up_to: int) -> None:
    """Compare all contenders on cells of many sizes, and fit the exponent of mml-graphs."""
    found: dict[int, dict[Entry, Series]] = {}
    for size in sizes:
        taking_part = [
            e
            for e in team.entries
            if size <= LARGEST.get(e.child.name, size) and (size <= peers_up_to or e.child.name in HERE)
        ]
        found[size], _ = take_turns(taking_part, "convert", f"cell-{size}", rounds)
    print(
        f"\n### Cells of N atoms ({DENSITY:g} per cubic angstrom, {CLOSEST:g} angstrom apart or more), ms\n"
    )
    rows = []
    for entry in team.entries:
        series = [found[size].get(entry) for size in sizes]
        rows.append((entry.label, *(milliseconds(s.timing) if s else "-" for s in series)))
        report.results |= {
            f"cell of {n}, {entry.label}": s.timing
            for n, s in zip(sizes, series, strict=True)
            if s is not None
        }
    rows += [(name, reason, *[""] * (len(sizes) - 1)) for name, reason in team.absent.items()]
    print_table(("library: way", *(f"{size:,}" for size in sizes)), rows)

    ours = next(entry for entry in team.entries if entry.child.name == "ours")
    for size in sizes:
        share = found[size][ours].each.mean() / limits(found[size]).mean()
        report.at_most(f"cell of {size:,}, ours: {LIMIT}", share, 1.0)
    large = [size for size in sizes if size >= 1_000]
    seconds = [found[size][ours].timing.median for size in large]
    report.at_most(f"exponent of time, N from 1,000 to {large[-1]:,}", exponent(large, seconds), EXPONENT)


def measure_memory(report: Report, structures: Path, sizes: list[int]) -> None:
    """Measure the peak memory of one conversion in a new process for each size."""
    if not Path("/proc/self/clear_refs").exists():
        print("\n### Peak memory\n\nNot measured: only Linux reports the peak of the resident set.")
        return
    print("\n### Peak memory of one conversion, beyond the resident memory before it (growth of VmHWM)\n")
    rows, peaks = [], []
    for size in sizes:
        arguments = [str(structures), f"cell-{size}", "cell-100"]
        command = [sys.executable, "-P", "-m", "contenders.memory", *arguments]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        peaks.append(answer["peak"])
        rows.append((f"{size:,}", f"{answer['peak'] / 1e6:.1f}", f"{answer['returned'] / 1e6:.1f}"))
        report.results[f"memory, cell of {size}"] = answer
        ratio = answer["peak"] / answer["returned"]
        report.at_most(f"cell of {size:,}: ratio of peak memory to returned arrays", ratio, MEMORY_RATIO)
    print_table(("atoms", "peak, MB", "returned arrays, MB"), rows)
    report.at_most(f"exponent of memory, N from 1,000 to {sizes[-1]:,}", exponent(sizes, peaks), EXPONENT)


def measure_adaptive(report: Report, team: Team, sizes: list[int], rounds: int) -> None:
    """Compare a cutoff that must grow to 40 angstrom with one search at that radius."""
    print("\n### A cutoff that grows from 6 to 40 angstrom, ms\n")
    rows = []
    for size in sizes:
        edges, _ = count_edges(team.entries, f"lonely-{size}")
        if len({tuple(found) for found in edges.values()}) != 1:
            raise SystemExit(f"the searches at 40 angstrom differ for {size} atoms and one: {edges}")
        series, _ = take_turns(team.entries, "convert", f"lonely-{size}", rounds)
        timings = {entry.method: s.timing for entry, s in series.items()}
        name = f"{size:,} atoms and one" if size else "one atom"
        rows.append((name, *(milliseconds(timings[m]) for m in ("grown", "fixed", "bare"))))
        report.results |= {f"adaptive, {name}, {method}": timing for method, timing in timings.items()}
        ratio = timings["grown"].median / timings["fixed"].median
        report.at_most(f"{name}, 40 angstrom apart: ratio of adaptive to one search at 40", ratio, GROWTH)
    print_table(("cell", "grown", "fixed at 40", "bare search at 40"), rows)


def exponent(sizes: list[int], values: list[float]) -> float:
    """Return the slope of a straight line fitted to the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0]) if len(sizes) > 1 else float("nan")


def main() -> int:
    """Measure, print the tables, and return 1 if a requirement is not met."""
    options = parse_arguments(__doc__, PARTS)
    quick = options.quick
    about = describe_machine("mml-graphs", "torch", "torch-geometric", "pymatgen-core", "vesin", "numpy")
    parts = PARTS if options.only is None else (options.only,)
    sizes = [100, 1_000, 10_000] if quick else [100, 1_000, 10_000, 100_000]
    lonely = [0, 100] if quick else [0, 100, 1_000]
    sets = small_and_middling(64, 16) if quick else small_and_middling(200, 40)
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        structures = Path(folder) / "structures.npz"
        groups = {name: crystals for name, (_, crystals) in sets.items()}
        groups |= {
            f"cell-{size}": [random_cell(size, seed) for seed in range(max(1, ATOMS_A_TURN // size))]
            for size in sizes
        }
        groups |= {f"lonely-{size}": [lonely_atom(size)] for size in lonely}
        save(structures, groups)
        if "sets" in parts or "scaling" in parts:
            peers = {module: peer for module, peer in PEERS.items() if not quick or peer in QUICK}
            with Team(HERE | peers, structures) as team:
                team.absent |= {name: "left out with --quick" for m, name in PEERS.items() if m not in peers}
                about |= team.describe()
                if "sets" in parts:
                    for group, (title, _) in sets.items():
                        measure_set(report, team, group, title, 3 if quick else 11)
                if "scaling" in parts:
                    measure_scaling(report, team, sizes, 3 if quick else 5, 100 if quick else sizes[-1])
        if "memory" in parts:
            measure_memory(report, structures, sizes[1:])
        if "adaptive" in parts:
            with Team({"adaptive": ""}, structures) as team:
                measure_adaptive(report, team, lonely, 3 if quick else 7)
    report.print_asked()
    write_json(options.json, about, report.results)
    return 1 if any(row[-1] == "NO" for row in report.asked) else 0


if __name__ == "__main__":
    sys.exit(main())
