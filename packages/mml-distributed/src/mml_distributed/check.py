"""The report of `mml-distributed check`: where the ranks run, whether they connect, and at what speed."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta

import torch
import torch.distributed as dist

from mml_distributed import MPIEnvironment
from mml_distributed._optional import import_oneccl
from mml_distributed.connection import connecting
from mml_distributed.rendezvous import check_gloo_interface, check_reachable
from mml_distributed.strategy import default_backend

SIZES = (1 << 10, 1 << 16, 1 << 20, 1 << 24, 1 << 26)
"""Sizes of the tensors that are reduced, in bytes."""
REPEATS = 5


@dataclass(frozen=True)
class Place:
    """The node, cores and device of a rank."""

    rank: int
    local_rank: int
    node: int
    host: str
    cores: str
    threads: int
    device: str
    devices: int


@dataclass(frozen=True)
class Reduction:
    """One all-reduce: its size in bytes, its median time in seconds, and whether the sum was correct."""

    size: int
    seconds: float
    correct: bool

    def bandwidth(self, ranks: int) -> float:
        """Return the bandwidth of a ring's slowest link in bytes per second: 2 (n - 1) / n * size / time."""
        return 2 * (ranks - 1) / ranks * self.size / self.seconds


def check(backend: str | None, timeout: timedelta) -> tuple[str, bool]:
    """Connect the ranks of this launch and test them. Every rank must call this function.

    Parameters
    ----------
    backend
        Process group backend. None selects the backend that training would use.
    timeout
        Time limit for the ranks to connect.

    Returns
    -------
    tuple of str and bool
        The report on rank 0 (an empty string on the other ranks), and whether a fault was found.

    Raises
    ------
    RuntimeError, ValueError
        If no launcher started the process or if the ranks cannot connect. `MPIEnvironment` and torch raise
        these errors.
    ImportError
        If the backend is ccl and oneCCL's bindings are not installed.
    """
    began = time.perf_counter()
    environment = MPIEnvironment(timeout=timeout)
    device, devices = device_of(environment.local_rank())
    backend = backend or default_backend(device)
    if backend == "ccl":
        import_oneccl()
    check_reachable(environment.launch, environment.main_address)
    if backend == "gloo":
        check_gloo_interface(environment.launch, os.environ)
    if device.type != "cpu":
        torch.get_device_module(device).set_device(device)
    rank, size = environment.global_rank(), environment.world_size()
    address = f"{environment.main_address}:{environment.main_port}"
    with connecting(environment.launch, environment.main_address, environment.main_port):
        dist.init_process_group(
            backend, init_method=f"tcp://{address}", rank=rank, world_size=size, timeout=timeout
        )
    hosts: list[str] = [""] * size
    dist.all_gather_object(hosts, environment.launch.host or socket.gethostname())
    met = time.perf_counter() - began
    place = Place(
        rank,
        environment.local_rank(),
        list(dict.fromkeys(hosts)).index(hosts[rank]),
        hosts[rank],
        show_cores(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "?",
        torch.get_num_threads(),
        str(device),
        devices,
    )
    places: list[Place] = [place] * size
    dist.all_gather_object(places, place)
    reductions = [reduce(size_in_bytes, device) for size_in_bytes in SIZES]
    correct: list[list[bool]] = [[]] * size
    dist.all_gather_object(correct, [one.correct for one in reductions])
    faults = find_faults(places)
    for reduction, *answers in zip(reductions, *correct, strict=True):
        if not all(answers):
            ranks = ", ".join(str(rank) for rank, right in enumerate(answers) if not right)
            faults.append(f"The sum of {reduction.size} bytes is wrong on rank {ranks}. Try another backend.")
    if rank != 0:
        return "", bool(faults)
    lines = [
        f"{environment.launch.launcher}, {size} ranks on {len(set(hosts))} node(s), connected at {address} "
        f"with {backend} in {met:.2f} s; torch {torch.__version__}",
        "",
        *table([[str(getattr(one, field)) for field in COLUMNS] for one in places], COLUMNS),
        "",
        *table(
            [
                [f"{one.size / 1024:g}", f"{one.seconds * 1e3:.3f}", f"{one.bandwidth(size) / 1e9:.3f}"]
                for one in reductions
            ],
            ("all-reduce KB", "ms", "GB/s"),
        ),
        "",
        *([f"WRONG: {fault}" for fault in faults] or ["No faults found."]),
    ]
    return "\n".join(lines), bool(faults)


COLUMNS = tuple(field.name for field in fields(Place) if field.name != "devices")


def device_of(local_rank: int) -> tuple[torch.device, int]:
    """Return the device that training assigns to a rank, and how many devices of this type the rank sees."""
    for kind, module in (("cuda", torch.cuda), ("xpu", torch.xpu)):
        if module.is_available():
            count = module.device_count()
            return torch.device(kind, min(local_rank, count - 1)), count
    return torch.device("cpu"), 0


def reduce(size: int, device: torch.device) -> Reduction:
    """Time the sum of a tensor of `size` bytes over all ranks.

    Rank r of n contributes r + 1, so every element must be n (n + 1) / 2 on all ranks.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    expected, correct, seconds = ranks * (ranks + 1) / 2, True, []
    for _ in range(REPEATS + 1):  # the first one sets up connections and is not counted
        tensor = torch.full((size // 4,), float(rank + 1), device=device)
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(tensor)
        correct &= bool((tensor == expected).all())  # this also waits for the device
        seconds.append(time.perf_counter() - began)
    return Reduction(size, sorted(seconds[1:])[REPEATS // 2], correct)


def find_faults(places: Sequence[Place]) -> list[str]:
    """Return the faults in the placement of the ranks, each as a sentence that includes the remedy."""
    faults = []
    per_node = Counter(place.node for place in places)
    if len(set(per_node.values())) > 1:
        counts = ", ".join(f"{count} on node {node}" for node, count in sorted(per_node.items()))
        faults.append(
            f"Lightning requires the same number of ranks on every node, got {counts}. "
            "Use -ppn or --map-by ppr."
        )
    for (node, host), device in sorted({((p.node, p.host), p.device) for p in places if p.devices}):
        ranks = [p.rank for p in places if p.node == node and p.device == device]
        if len(ranks) > 1:
            faults.append(
                f"Ranks {', '.join(map(str, ranks))} share {device} of {host}. Start at most one rank per "
                "device."
            )
    for node in sorted(per_node):
        here = [place for place in places if place.node == node]
        for cores in sorted({place.cores for place in here}):
            alike = [place for place in here if place.cores == cores]
            threads, count = sum(place.threads for place in alike), count_cores(cores)
            if count and threads > count:
                faults.append(
                    f"Ranks {', '.join(str(place.rank) for place in alike)} start {threads} threads on the "
                    f"{count} core(s) {cores} of {here[0].host}. Set OMP_NUM_THREADS to at most "
                    f"{max(1, count // len(alike))}, or bind fewer ranks to these cores."
                )
    return faults


def show_cores(cores: set[int]) -> str:
    """Format a set of cores in the short form of Linux, such as 0-3,8."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def count_cores(text: str) -> int:
    """Return the number of cores in the short form of Linux, or 0 if the cores are unknown."""
    if text == "?":
        return 0
    ends = [part.split("-") for part in text.split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> list[str]:
    """Format rows and a header as the lines of a table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
