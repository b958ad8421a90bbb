"""The `mml-distributed` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta

from mml_distributed.check import check


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status, which is 1 if a fault was found."""
    parser = argparse.ArgumentParser(
        prog="mml-distributed", description="Check the processes of an MPI launch and their connections."
    )
    parser.add_argument(
        "command",
        choices=["check"],
        help="list where each rank runs, test whether the ranks can connect, and measure the speed; start it "
        "under the launcher, for example with `mpirun -n 4 mml-distributed check`",
    )
    parser.add_argument(
        "--backend", help="backend of torch.distributed (default: the backend that training would use)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="time limit for the connection (default: 60)",
    )
    options = parser.parse_args(arguments)
    try:
        report, wrong = check(options.backend, timedelta(seconds=options.timeout))
    except (RuntimeError, ValueError, ImportError) as error:
        sys.stderr.write(f"mml-distributed check: {error}\n")
        return 1
    if report:
        sys.stdout.write(f"{report}\n")
    return 1 if wrong else 0
