"""Run molecular dynamics with ASE from the checkpoint of a short training run.

uv run python examples/ase_md.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from matsciml.cli import main as matsciml
from matsciml.interfaces.ase import load_calculator


def main() -> None:
    """Train, load the best checkpoint, and run 20 steps at constant energy."""
    with tempfile.TemporaryDirectory() as folder:
        short = [
            "--trainer.max_epochs=1",
            "--trainer.limit_train_batches=30",
            "--trainer.limit_val_batches=2",
            "--trainer.limit_test_batches=2",
        ]
        matsciml(["fit", "--runs_dir", folder, "--trainer.enable_progress_bar=false", *short])
        calculator = load_calculator(Path(folder, "fit", "checkpoints", "best.ckpt"))
    calculator.task.double()  # single precision limits how well energy is conserved
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.calc = calculator
    momenta = np.random.default_rng(0).normal(size=(len(atoms), 3))  # momenta at 300 K
    atoms.set_momenta(momenta * np.sqrt(atoms.get_masses() * units.kB * 300)[:, None])
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, timestep=2 * units.fs).run(20)
    drift = (atoms.get_total_energy() - before) / len(atoms)
    print(f"{len(atoms)} atoms at {atoms.get_temperature():.0f} K; energy drift {1000 * drift:.3f} meV/atom")


if __name__ == "__main__":
    main()
