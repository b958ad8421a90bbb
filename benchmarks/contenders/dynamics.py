"""Share of graph construction in molecular dynamics with the ASE calculator and SchNet.

    python -P -m contenders.dynamics STRUCTURES.npz GROUP STEPS DTYPE SKIN   (with `benchmarks` on PYTHONPATH)

Prints JSON, in seconds of processor time per step: the whole step, and the part from `Atoms` to the batch
that the task gets. DTYPE is float32 or float64. SKIN is a number, or "none" for the default.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import torch
from ase import units
from ase.md.verlet import VelocityVerlet
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask
from mml_tasks.ase_calculator import TaskCalculator

from contenders.face import CUTOFF, load, to_ase

WARM_UP = 5  # steps


class TimedCalculator(TaskCalculator):
    """Calculator that records the time of each conversion."""

    def _sample(self, *arguments: Any) -> Any:
        start = process_time()
        sample = super()._sample(*arguments)
        self.parameters.setdefault("seconds", []).append(process_time() - start)
        return sample


def main() -> None:
    """Run and print the medians."""
    torch.set_num_threads(1)
    path, group, steps, dtype, skin = sys.argv[1:]
    crystal = load(Path(path))[group][0]
    torch.manual_seed(0)
    task = ForceRegressionTask(
        SchNet(cutoff=CUTOFF), normalize_kwargs={"energy_per_atom_mean": -1.5, "force_std": 1.0}
    ).to(getattr(torch, dtype))
    neighbors = PeriodicPropertiesTransform(CUTOFF, adaptive_cutoff=True)
    atoms = to_ase(crystal)
    atoms.calc = TimedCalculator(
        task, [neighbors, PointCloudToGraphTransform("pyg")], skin=None if skin == "none" else float(skin)
    )
    speed = np.sqrt(300 * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(speed * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    whole: list[float] = []
    motion = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    for _ in range(WARM_UP + int(steps)):
        start = process_time()
        motion.run(1)
        whole.append(process_time() - start)
    graphs = atoms.calc.parameters["seconds"][-int(steps) :]
    print(json.dumps({"step": median(whole[WARM_UP:]), "graph": median(graphs), "atoms": len(atoms)}))


if __name__ == "__main__":
    main()
