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
        prog="mml-distributed", description="MPI launches for Lightning: what is there, and what is wrong."
    )
    parser.add_argument(
        "command",
        choices=["check"],
        help="run under the launcher, as in `mpirun -n 4 mml-distributed check`: where each rank runs, and "
        "whether they reach each other, how fast",
    )
    parser.add_argument("--backend", help="of torch.distributed; left out: the one that training would use")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="for the ranks to meet (60)"
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
