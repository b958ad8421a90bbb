"""Cost of converting a structure to a graph, compared with the bare search and with other libraries.

Every library runs in a separate process on one thread, with the same structures in memory, in the form that
its users have (pymatgen or ASE objects, or arrays). The libraries take turns, round by round. Times are
processor times of one pass over the structures, as the median over the rounds with the range, except for
those of two threads, which are wall times. `tools/peers matgl orb-models linkcell` creates the environments
of the fastest libraries, and `tools/peers --all` those of all. Missing libraries are listed. The tables are
Markdown.

    uv run python benchmarks/graphs.py [--quick] [--json FILE] [--only PART]
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
from contenders.face import CUTOFF, Crystal, save
from contenders.report import Report, milliseconds, print_table
from contenders.structures import CLOSEST, DENSITY, lonely_atom, random_cell, small_and_middling
from contenders.turns import Entry, Team, count_edges, take_turns
from harness import Timing, describe_machine, parse_arguments, write_json

PARTS = ("sets", "search", "threads", "dynamics", "memory", "adaptive")
HERE = {"ours": "", "bare": "", "loops": "", "search": ""}
PEERS = {
    "matgl": "matgl",
    "orb": "orb-models",
    "nequip": "nequip",
    "mace": "mace-torch",
    "fairchem": "fairchem-core",
    "schnetpack": "schnetpack",
}
QUICK = ("matgl", "orb-models")  # the two fastest peers, to keep a quick run short
ALLOWANCE = 35e-6  # seconds that a graph may take in addition to 1.5 times the search in C
BATCH = {"small": 32, "middling": 16}
# Required speedups over matgl one at a time, and over the best peer in batches.
WANTED = {"small": (3.5, 6.0), "middling": (2.5, 4.0)}
OVER_PYMATGEN, TWO_THREADS, SHARE = 2.0, 1.7, 0.05
COMPARED = (2, 5, 20, 83, 200, 1_000, 10_000, 100_000)  # atoms; 83 atoms are LiPS frames
LINKCELL_UP_TO, LARGEST, LARGEST_SECONDS = 10_000, 1_000_000, 3.0
ATOMS_A_PASS = 2_000
SEARCH = "native, all arrays"
MEMORY_RATIO, EXPONENT = 2.2, 1.05
GROWTH, GROWTH_ALLOWANCE = 3.0, 200e-6
GROWTH_LIMIT = "ratio to 3 x one search at 40 + 0.2 ms"


def fastest(timings: dict[Entry, Timing], names: Iterable[str]) -> tuple[str, float]:
    """Return the label and the median of the fastest entry of these contenders."""
    medians = {entry.label: t.median for entry, t in timings.items() if entry.child.name in names}
    label = min(medians, key=lambda key: medians[key], default="no peer is installed")
    return label, medians.get(label, float("nan"))


def measure_set(report: Report, team: Team, group: str, title: str, rounds: int) -> None:
    """Compare all contenders on a set of structures, one at a time and in batches."""
    entries = [entry for entry in team.entries if entry.child.name != "search" or entry.method == SEARCH]
    edges, failed = count_edges(entries, group)
    ours = next(entry for entry in entries if entry.child.name == "ours")
    if ours in failed:
        raise SystemExit(f"{ours.label}: {failed[ours]}")
    ready = [entry for entry in entries if entry not in failed]
    one, failed_one = take_turns(ready, "convert", group, rounds)
    batching = [entry for entry in one if entry.child.methods[entry.method]]
    many, failed_many = take_turns(batching, "collate", group, rounds, BATCH[group])
    failed |= failed_one | failed_many

    print(f"\n### {title}\n\n{np.mean(edges[ours]):.1f} edges per structure within {CUTOFF:g} angstrom.\n")
    rows = []
    for entry in entries:
        if entry in failed:
            rows.append((entry.label, failed[entry], "", "", "", "", ""))
            continue
        wrong = sum(a != b for a, b in zip(edges[entry], edges[ours], strict=True))
        excess = sum(edges[entry]) - sum(edges[ours])
        rows.append(
            (
                entry.label,
                milliseconds(one[entry]),
                f"{one[entry].median / one[ours].median:.2f}",
                milliseconds(many[entry]) if entry in many else "-",
                f"{many[entry].median / many[ours].median:.2f}" if entry in many else "-",
                f"{excess:+d} in {wrong} structures" if wrong else "same",
                entry.child.returns[entry.method],
            )
        )
        report.results[f"{title}, one at a time, {entry.label}"] = one[entry]
        if entry in many:
            report.results[f"{title}, batch of {BATCH[group]}, {entry.label}"] = many[entry]
    rows += [(name, reason, "", "", "", "", "") for name, reason in team.absent.items()]
    head = (
        "library: way",
        "ms per structure",
        "ratio to ours",
        f"ms per batch of {BATCH[group]}",
        "ratio to ours",
        "edges",
        "arrays per edge",
    )
    print_table(head, rows)
    compare_set(report, group, title, one, many)


def compare_set(
    report: Report, group: str, title: str, one: dict[Entry, Timing], many: dict[Entry, Timing]
) -> None:
    """Compare the ways of mml-graphs with the peers and with its search."""
    single, batched = WANTED[group]
    search = next(t.median for e, t in one.items() if e.method == SEARCH)
    _, matgl = fastest(one, ("matgl",))
    label_one, best_one = fastest(one, PEERS.values())
    label_many, best_many = fastest(many, PEERS.values())
    for entry in (e for e in one if e.child.name == "ours"):
        seconds, name = one[entry].median, f"{title}, ours from {entry.method}"
        report.at_least(f"{name}: speedup over matgl, one at a time", matgl / seconds, single)
        report.at_least(
            f"{name}: speedup over the best peer, one at a time", best_one / seconds, 1, label_one
        )
        report.at_least(
            f"{name}: speedup over the best peer, in batches",
            best_many / many[entry].median,
            batched,
            label_many,
        )
        if entry.method == "arrays":
            note = f"{seconds * 1e6:.0f} and {search * 1e6:.1f} us"
            limit = 1.5 * search + ALLOWANCE
            report.at_most(f"{name}: ratio to 1.5 x the search + 35 us", seconds / limit, 1.0, note)


def measure_search(report: Report, team: Team, sizes: list[int], rounds: int) -> None:
    """Compare the searches on cells of many sizes, and fit the exponent of the native search."""
    ways = ("native", "pymatgen", "vesin", "pairs_within")
    entries = {e.method: e for e in team.entries if e.child.name in ("search", "linkcell")}
    found: dict[int, dict[Entry, Timing]] = {}
    for size in sizes:
        most = {"pairs_within": LINKCELL_UP_TO, "native": LARGEST}
        some = [entries[way] for way in ways if way in entries and size <= most.get(way, COMPARED[-1])]
        found[size], failed = take_turns(some, "convert", f"cell-{size}", rounds if size < LARGEST else 1)
        for entry, reason in failed.items():
            print(f"{entry.label}, {size:,} atoms: {reason}")
    print(
        f"\n### The search alone: cells of N atoms ({DENSITY:g} per cubic angstrom, {CLOSEST:g} angstrom "
        "apart or more; for 83 atoms LiPS frames), us\n"
    )
    rows = []
    for entry in (entries[way] for way in ways if way in entries):
        timings = [found[size].get(entry) for size in sizes]
        shown = [t.show(1e6, 1 if t.median < 1e-3 else 0) if t else "-" for t in timings]
        rows.append((entry.label, *shown, entry.child.returns[entry.method]))
        report.results |= {
            f"search of {n}, {entry.label}": t for n, t in zip(sizes, timings, strict=True) if t is not None
        }
    rows += [(name, reason, *[""] * len(sizes)) for name, reason in team.absent.items() if name == "linkcell"]
    print_table(("search", *(f"{size:,}" for size in sizes), "arrays per edge"), rows)

    def seconds(size: int, way: str) -> float:
        timing = found[size].get(entries[way]) if way in entries else None
        return timing.median if timing else float("nan")

    for size in (size for size in sizes if size <= COMPARED[-1]):
        ratio = seconds(size, "pymatgen") / seconds(size, "native")
        report.at_least(f"search of {size:,} atoms: speedup over pymatgen", ratio, OVER_PYMATGEN)
    for size in (size for size in sizes if size <= LINKCELL_UP_TO):
        ratio = seconds(size, "pairs_within") / seconds(size, "native")
        report.at_least(f"search of {size:,} atoms: speedup over linkcell", ratio, 1.0)
    large = [size for size in sizes if size >= 1_000]
    slope = exponent(large, [seconds(size, "native") for size in large])
    report.at_most(f"search: exponent of time, N from 1,000 to {large[-1]:,}", slope, EXPONENT)
    if LARGEST in sizes:
        report.at_most(f"search of {LARGEST:,} atoms: s", seconds(LARGEST, "native"), LARGEST_SECONDS)


def measure_threads(report: Report, team: Team, rounds: int) -> None:
    """Compare batches with one and two threads, in wall time."""
    entries = [entry for entry in team.entries if entry.child.name == "threads"]
    timings, _ = take_turns(entries, "collate", "middling", rounds, BATCH["middling"], clock="wall")
    rows = [(entry.method, milliseconds(timing)) for entry, timing in timings.items()]
    print("\n### Threads, wall time\n")
    print_table(("`GraphCollate`, LiPS frames from arrays", f"ms per batch of {BATCH['middling']}"), rows)
    one, two = (timing.median for timing in timings.values())
    report.at_least("two threads: speedup over one, batches of LiPS frames", one / two, TWO_THREADS)


def measure_dynamics(report: Report, structures: Path, steps: int) -> None:
    """Measure the share of graph construction in molecular dynamics, without and with a skin."""
    rows = []
    for dtype, skin in (("float64", "none"), ("float64", "1.0"), ("float32", "none")):
        command = [sys.executable, "-P", "-W", "ignore", "-m", "contenders.dynamics"]
        command += [str(structures), "middling", str(steps), dtype, skin]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        share, atoms = answer["graph"] / answer["step"], answer["atoms"]
        way = f"{dtype}, " + ("default" if skin == "none" else f"skin of {skin} angstrom")
        rows.append((way, f"{answer['step'] * 1e3:.2f}", f"{answer['graph'] * 1e3:.3f}", f"{share:.1%}"))
        report.results[f"dynamics of {atoms} atoms, {way}"] = answer
        if skin == "none":
            report.at_most(
                f"dynamics of {atoms} atoms with SchNet in {dtype}: share of the graph", share, SHARE
            )
    print(f"\n### A step of molecular dynamics of {atoms} atoms with SchNet and the ASE calculator\n")
    print_table(("precision, neighbors", "ms per step", "ms per graph", "share"), rows)


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
        report.at_most(
            f"graph of {size:,} atoms: ratio of peak memory to returned arrays", ratio, MEMORY_RATIO
        )
    print_table(("atoms", "peak, MB", "returned arrays, MB"), rows)
    slope = exponent(sizes, peaks)
    report.at_most(f"graph: exponent of memory, N from {sizes[0]:,} to {sizes[-1]:,}", slope, EXPONENT)


def measure_adaptive(report: Report, team: Team, sizes: list[int], rounds: int) -> None:
    """Compare a cutoff that must grow to 40 angstrom with one search at that radius."""
    rows = []
    entries = [entry for entry in team.entries if entry.child.name == "adaptive"]
    for size in sizes:
        edges, _ = count_edges(entries, f"lonely-{size}")
        if len({tuple(found) for found in edges.values()}) != 1:
            raise SystemExit(f"the searches at 40 angstrom differ for {size} atoms and one: {edges}")
        series, _ = take_turns(entries, "convert", f"lonely-{size}", rounds)
        timings = {entry.method: timing for entry, timing in series.items()}
        name = f"{size:,} atoms and one" if size else "one atom"
        rows.append((name, *(milliseconds(timings[m]) for m in ("grown", "fixed", "bare"))))
        report.results |= {f"adaptive, {name}, {method}": timing for method, timing in timings.items()}
        ratio = timings["grown"].median / (GROWTH * timings["fixed"].median + GROWTH_ALLOWANCE)
        report.at_most(f"{name}, 40 angstrom apart: {GROWTH_LIMIT}", ratio, 1.0)
    print("\n### A cutoff that grows from 6 to 40 angstrom, ms\n")
    print_table(("cell", "grown", "fixed at 40", "bare search at 40"), rows)


def exponent(sizes: list[int], values: list[float]) -> float:
    """Return the slope of a straight line fitted to the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0]) if len(sizes) > 1 else float("nan")


def cells(size: int, frames: list[Crystal]) -> list[Crystal]:
    """Return cells with this number of atoms, for one pass."""
    count = max(1, ATOMS_A_PASS // size)
    if size == len(frames[0].numbers):
        return frames[:count]
    return [random_cell(size, seed) for seed in range(count)]


def main() -> int:
    """Measure, print the tables, and return 1 if a requirement is not met."""
    options = parse_arguments(__doc__, PARTS)
    quick = options.quick
    about = describe_machine("mml-graphs", "torch", "torch-geometric", "pymatgen-core", "vesin", "numpy")
    parts = PARTS if options.only is None else (options.only,)
    sizes = [size for size in COMPARED if size <= 10_000] if quick else [*COMPARED, LARGEST]
    in_memory = [1_000, 10_000] if quick else [10_000, 100_000, LARGEST]
    lonely = [0, 100] if quick else [0, 100, 1_000]
    sets = small_and_middling(64, 16) if quick else small_and_middling(192, 32)
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        structures = Path(folder) / "structures.npz"
        groups = {name: crystals for name, (_, crystals) in sets.items()}
        groups |= {f"cell-{size}": cells(size, groups["middling"]) for size in {100, *sizes, *in_memory}}
        groups |= {f"lonely-{size}": [lonely_atom(size)] for size in lonely}
        save(structures, groups)
        if "sets" in parts:
            peers = {module: peer for module, peer in PEERS.items() if not quick or peer in QUICK}
            with Team(HERE | peers, structures) as team:
                team.absent |= {name: "left out with --quick" for m, name in PEERS.items() if m not in peers}
                about |= team.describe()
                for group, (title, _) in sets.items():
                    measure_set(report, team, group, title, 3 if quick else 7)
        with Team({"search": "", "linkcell": "linkcell", "threads": "", "adaptive": ""}, structures) as team:
            about |= team.describe()
            if "search" in parts:
                measure_search(report, team, sizes, 3 if quick else 7)
            if "threads" in parts:
                measure_threads(report, team, 7 if quick else 21)
            if "adaptive" in parts:
                measure_adaptive(report, team, lonely, 3 if quick else 7)
        if "dynamics" in parts:
            measure_dynamics(report, structures, 20 if quick else 100)
        if "memory" in parts:
            measure_memory(report, structures, in_memory)
    report.print_asked()
    write_json(options.json, about, report.results)
    return 1 if any(row[-1] == "NO" for row in report.asked) else 0


if __name__ == "__main__":
    sys.exit(main())
