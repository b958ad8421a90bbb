"""Run by every rank: write down what the launcher said. Imports no torch and no Lightning."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

# The package's modules without its __init__, which imports Lightning.
package = ModuleType("mml_distributed")
package.__path__ = [sys.argv[1]]
sys.modules["mml_distributed"] = package

from mml_distributed.abort import abort_job_on_exception  # noqa: E402
from mml_distributed.launchers import read_launch  # noqa: E402
from mml_distributed.rendezvous import rendezvous  # noqa: E402

launch = read_launch()
abort_job_on_exception(launch, os.environ)
if sys.argv[3] == "fail":
    import time

    if launch.rank == 1:
        raise RuntimeError("rank 1 fails")
    time.sleep(60)
place = rendezvous(launch, os.environ)
table = asdict(launch) | {"place": place, "torch": "torch" in sys.modules, "mpi4py": "mpi4py" in sys.modules}
Path(sys.argv[2], f"{launch.rank}.json").write_text(json.dumps(table))
