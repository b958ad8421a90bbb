"""What mml-distributed costs: the rendezvous of 4 ranks, and training beside torchrun with Lightning's `ddp`.

All on this machine's CPU, gloo on loopback, a thread a rank. The launcher is the mpiexec beside
this Python (MPICH's wheel brings it). Both ways to train run in turn, same script and backend; the rate is
that of the slowest rank, without the first fifth of the steps. Beside it stands the CPU time of a step, with
that of gloo's threads, which hardly depends on what else the machine does. Rates of 1 and 2 ranks with the
same batch a rank are weak scaling. From the time of 1 rank's step and from all-reduces of 2 ranks, a model
(see `mml_distributed.scaling`) says what more ranks would reach if each link were like this loopback: no
measurement, and its line for 2 ranks is there to be held against the one that is. Some five minutes.

    uv run python benchmarks/distributed.py [--quick] [--json FILE]
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from distributed_rank import BATCH
from harness import Timing, describe_machine, parse_arguments, write_json
from mml_distributed.check import SIZES, Reduction
from mml_distributed.scaling import fit_link, predict

SCRIPT = Path(__file__).with_name("distributed_rank.py")
BIN = Path(sys.executable).parent
RENDEZVOUS_LIMIT = 1.0
RATIO_LIMIT = 0.98
DEADLINE_SECONDS = 180
RANKS = (2, 16, 32, 64, 128, 256, 512, 1024)
OUTER = ("MASTER_", "LOCAL_RANK", "PMI", "OMPI_COMM", "SLURM", "PALS", "HYDRA", "MPI_LOCAL", "NODE_RANK")


def launch(command: list[str], *arguments: str) -> list[dict[str, Any]]:
    """Run the script under a launcher; return the numbers of its ranks."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(OUTER)}
    loopback = "lo" if sys.platform == "linux" else "lo0"
    process = subprocess.Popen(
        [*command, str(SCRIPT), *arguments],
        env=env | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": loopback},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    lines = [line.partition("RESULT ")[2] for line in output.splitlines() if "RESULT " in line]
    return [json.loads(line) for line in lines]


def mpiexec(ranks: int) -> list[str]:
    """Return the beginning of a command line for our way."""
    return [str(BIN / "mpiexec"), "-n", str(ranks), sys.executable]


def torchrun(ranks: int) -> list[str]:
    """Return the beginning of a command line for torch's way."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d"),
        *("--rdzv-endpoint=127.0.0.1:0", f"--nproc-per-node={ranks}"),
    ]


def print_model(step: float, gradient_bytes: int, seconds: list[float]) -> None:
    """Print the sums of two ranks, and what the model makes of them."""
    print(f"\n{'all-reduce of 2 ranks, KB':28} {'ms':>8} {'GB/s':>8}")
    for size, time in zip(SIZES, seconds, strict=True):
        print(f"{size / 1024:<28g} {time * 1e3:8.3f} {Reduction(size, time, True).bandwidth(2) / 1e9:8.3f}")
    link = fit_link(SIZES, seconds, 2)
    print(
        f"\nMODEL, no measurement: a step of {step * 1e3:.2f} ms, {gradient_bytes / 1e6:.1f} MB of "
        f"gradients, a ring of links with {link.latency * 1e6:.0f} us and {link.bandwidth / 1e9:.2f} GB/s"
    )
    print(f"{'ranks':>6} {'sum, ms':>9}  weak scaling: summed after the step, summed during it")
    for ranks in RANKS:
        _, wait, low, high = predict(step, gradient_bytes, link, ranks)
        print(f"{ranks:6} {wait * 1e3:9.2f}  {low:.2f}, {high:.2f}")


def main() -> int:
    """Measure, print the tables, and say with the exit status whether every limit holds."""
    options = parse_arguments(__doc__)
    if not (BIN / "mpiexec").exists():
        print("no mpiexec beside this Python: uv pip install mpich")
        return 1
    about = describe_machine("torch", "pytorch-lightning", "mpich")
    repeats, steps = (1, 400) if options.quick else (7, 600)

    met, place, mpi4py = [], [], False
    for _ in range(repeats):
        ranks = launch(mpiexec(4), "meet")
        # The ranks do not start at once: the last one to come waits for nobody.
        met.append(min(rank["met"] for rank in ranks))
        place.append(min(rank["place"] for rank in ranks))
        mpi4py |= any(rank["mpi4py"] for rank in ranks)
    met_timing = Timing.of(met)
    print(f"rendezvous of 4 ranks, s, last to come:  {met_timing.show(digits=3)}")
    print(f"  of it, to know address and port:       {Timing.of(place).show(digits=3)}")
    print(f"mpi4py was imported: {'yes' if mpi4py else 'no'}")

    ways = {
        "1 rank, ddp_with_mpi": (mpiexec(1), "ddp_with_mpi", 1),
        "2 ranks, ddp_with_mpi": (mpiexec(2), "ddp_with_mpi", 2),
        "2 ranks, torchrun and ddp": (torchrun(2), "ddp", 2),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    sums: list[list[float]] = []
    gradient_bytes = 0
    for repeat in range(repeats):
        sums.append(launch(mpiexec(2), "reduce")[0]["seconds"])
        # There and back: a machine that slows down does so for both.
        for way in list(ways)[:: 1 if repeat % 2 == 0 else -1]:
            command, strategy, size = ways[way]
            ranks = launch(command, "fit", strategy, str(size), str(steps))
            rates[way].append(min(rank["rate"] for rank in ranks))
            cpu[way].append(statistics.mean(rank["cpu"] for rank in ranks))
            gradient_bytes = ranks[0]["gradient_bytes"]
    timings = {way: Timing.of(values) for way, values in rates.items()}
    print(f"\n{gradient_bytes / 1e6:.1f} MB of gradients; median (range)")
    print(f"{'':28} {'samples a second and rank':28} CPU ms a step and rank")
    for way, timing in timings.items():
        print(f"{way:28} {timing.show(digits=0):28} {Timing.of(cpu[way]).show(1e3)}")
    one, ours, theirs = rates.values()
    # Of neighbours in time: what else the machine does is then in both.
    ratio = Timing.of([mine / other for mine, other in zip(ours, theirs, strict=True)])
    scaling = Timing.of([two / single for two, single in zip(ours, one, strict=True)])
    print(f"weak scaling, 2 ranks to 1:  {scaling.show()}")
    print(f"ours to torchrun's:          {ratio.show(digits=3)}")
    seconds = [statistics.median(values) for values in zip(*sums, strict=True)]
    print_model(BATCH / statistics.median(one), gradient_bytes, seconds)
    # One pair of runs says that the script works, and nothing of a difference of two in a hundred.
    fast = options.quick or ratio.median >= RATIO_LIMIT
    good = met_timing.median < RENDEZVOUS_LIMIT and fast and not mpi4py
    print(
        f"limits: rendezvous under {RENDEZVOUS_LIMIT:g} s, at least {RATIO_LIMIT} of torchrun"
        f"{' (not judged by --quick)' if options.quick else ''}, no mpi4py: "
        f"{'hold' if good else 'DO NOT HOLD'}"
    )
    numbers = {"rendezvous": met_timing, **timings, "ratio": ratio, "weak scaling": scaling}
    write_json(options.json, about, numbers | {"all-reduce bytes": SIZES, "all-reduce seconds": seconds})
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
