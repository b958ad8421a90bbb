"""Write the place of every rank according to its launcher. The script imports neither torch nor Lightning."""

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

# The package's modules without its __init__, which imports Lightning.
package = ModuleType("mml_distributed")
package.__path__ = [sys.argv[1]]
sys.modules["mml_distributed"] = package

from mml_distributed.abort import abort_job_on_failure  # noqa: E402
from mml_distributed.launchers import read_launch  # noqa: E402
from mml_distributed.rendezvous import node_rank_told, rendezvous  # noqa: E402

launch = read_launch()
abort_job_on_failure(launch, os.environ)
how, *more = sys.argv[3:]
if "mpi" in more:
    from mpi4py import MPI  # noqa: F401  (it starts MPI)
place = rendezvous(launch, os.environ)
if how == "late":
    time.sleep(launch.rank)
elif how != "succeed":
    if launch.rank == 1:
        if how == "raise":
            raise RuntimeError("rank 1 fails")
        if how == "exit":
            sys.exit(3)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
table = asdict(launch) | {"place": place, "node": node_rank_told()}
table |= {name: name in sys.modules for name in ("torch", "mpi4py")}
Path(sys.argv[2], f"{launch.rank}.json").write_text(json.dumps(table))
