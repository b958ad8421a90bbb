"""Cost of mml-distributed: rendezvous of 4 ranks, and training compared with torchrun and Lightning's `ddp`.

Everything runs on the CPUs of this machine, with gloo on the loopback interface and one thread per rank. The
launcher is the mpiexec next to this Python (from MPICH's wheel). The two ways to train run in turn with the
same script and backend. The rate is that of the slowest rank, without the first fifth of the steps. The table
also shows the CPU time per step, including gloo's threads, which hardly depends on other work of the machine.
The rates of 1 and 2 ranks with the same batch per rank show the weak scaling. From the step time of 1 rank
and from all-reduces of 2 ranks, a model (see `mml_distributed.scaling`) estimates the rate of more ranks
whose links are like this loopback interface. This is not a measurement; compare its line for 2 ranks with the
measured value. The benchmark takes about five minutes.

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
    """Run the script under a launcher, and return the numbers of its ranks."""
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
        raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}:\n{output}")
    lines = [line.partition("RESULT ")[2] for line in output.splitlines() if "RESULT " in line]
    return [json.loads(line) for line in lines]


def mpiexec(ranks: int) -> list[str]:
    """Return the first part of the command line for MPI launchers."""
    return [str(BIN / "mpiexec"), "-n", str(ranks), sys.executable]


def torchrun(ranks: int) -> list[str]:
    """Return the first part of the command line for torchrun."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d"),
        *("--rdzv-endpoint=127.0.0.1:0", f"--nproc-per-node={ranks}"),
    ]


def print_model(step: float, gradient_bytes: int, seconds: list[float]) -> None:
    """Print the all-reduces of two ranks and the estimates of the model."""
    print(f"\n{'all-reduce of 2 ranks, KB':28} {'ms':>8} {'GB/s':>8}")
    for size, time in zip(SIZES, seconds, strict=True):
        print(f"{size / 1024:<28g} {time * 1e3:8.3f} {Reduction(size, time, True).bandwidth(2) / 1e9:8.3f}")
    link = fit_link(SIZES, seconds, 2)
    print(
        f"\nMODEL, not a measurement: a step of {step * 1e3:.2f} ms, {gradient_bytes / 1e6:.1f} MB of "
        f"gradients, a ring of links with {link.latency * 1e6:.0f} us and {link.bandwidth / 1e9:.2f} GB/s"
    )
    print(f"{'ranks':>6} {'all-reduce, ms':>15}  weak scaling: all-reduce after the step, during the step")
    for ranks in RANKS:
        _, wait, low, high = predict(step, gradient_bytes, link, ranks)
        print(f"{ranks:6} {wait * 1e3:15.2f}  {low:.2f}, {high:.2f}")


def main() -> int:
    """Measure, print the tables, and return 1 if a limit is not met."""
    options = parse_arguments(__doc__)
    if not (BIN / "mpiexec").exists():
        print("no mpiexec next to this Python: run uv pip install mpich")
        return 1
    about = describe_machine("torch", "pytorch-lightning", "mpich")
    repeats, steps = (1, 400) if options.quick else (7, 600)

    met, place, mpi4py = [], [], False
    for _ in range(repeats):
        ranks = launch(mpiexec(4), "meet")
        # The ranks start one after the other: the last one does not wait for any other.
        met.append(min(rank["met"] for rank in ranks))
        place.append(min(rank["place"] for rank in ranks))
        mpi4py |= any(rank["mpi4py"] for rank in ranks)
    met_timing = Timing.of(met)
    print(f"rendezvous of 4 ranks, last rank, s:      {met_timing.show(digits=3)}")
    print(f"  including finding address and port:     {Timing.of(place).show(digits=3)}")
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
        # Forward and backward, so that both are affected if the machine slows down.
        for way in list(ways)[:: 1 if repeat % 2 == 0 else -1]:
            command, strategy, size = ways[way]
            ranks = launch(command, "fit", strategy, str(size), str(steps))
            rates[way].append(min(rank["rate"] for rank in ranks))
            cpu[way].append(statistics.mean(rank["cpu"] for rank in ranks))
            gradient_bytes = ranks[0]["gradient_bytes"]
    timings = {way: Timing.of(values) for way, values in rates.items()}
    print(f"\n{gradient_bytes / 1e6:.1f} MB of gradients; median (range)")
    print(f"{'':28} {'samples per second and rank':28} CPU ms per step and rank")
    for way, timing in timings.items():
        print(f"{way:28} {timing.show(digits=0):28} {Timing.of(cpu[way]).show(1e3)}")
    one, ours, theirs = rates.values()
    # Pairs adjacent in time, so that other work of the machine affects both.
    ratio = Timing.of([mine / other for mine, other in zip(ours, theirs, strict=True)])
    scaling = Timing.of([two / single for two, single in zip(ours, one, strict=True)])
    print(f"weak scaling, 2 ranks to 1:  {scaling.show()}")
    print(f"compared with torchrun:      {ratio.show(digits=3)}")
    seconds = [statistics.median(values) for values in zip(*sums, strict=True)]
    print_model(BATCH / statistics.median(one), gradient_bytes, seconds)
    # One pair of runs shows that the script works, but cannot resolve a difference of 2 %.
    fast = options.quick or ratio.median >= RATIO_LIMIT
    good = met_timing.median < RENDEZVOUS_LIMIT and fast and not mpi4py
    print(
        f"limits: rendezvous under {RENDEZVOUS_LIMIT:g} s, at least {RATIO_LIMIT} of torchrun"
        f"{' (not checked with --quick)' if options.quick else ''}, no mpi4py: "
        f"{'met' if good else 'NOT MET'}"
    )
    numbers = {"rendezvous": met_timing, **timings, "ratio": ratio, "weak scaling": scaling}
    write_json(options.json, about, numbers | {"all-reduce bytes": SIZES, "all-reduce seconds": seconds})
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
