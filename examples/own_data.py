"""Import an extended XYZ file as a data set, train a model on it, and predict.

uv run python examples/own_data.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytorch_lightning as pl
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from mml_data import MatSciMLDataModule
from mml_data.convert import import_source
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform
from mml_models import SchNet
from mml_tasks import ForceRegressionTask


def write_some(path: Path) -> None:
    """Write rattled copper-gold crystals with the energies and forces of a classical potential."""
    frames = []
    for seed in range(80):
        atoms = bulk("Cu", cubic=True) * (1, 1, 2)
        atoms.numbers[:: 2 + seed % 3] = 79
        atoms.set_cell(atoms.cell * (1.04 + 0.001 * (seed % 20)), scale_atoms=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    write(path, frames, format="extxyz")


def main() -> None:
    """Import the file, train on the data set, and print the errors on the test split."""
    pl.seed_everything(0, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        file, dataset = Path(folder, "alloys.extxyz"), Path(folder, "alloys")
        write_some(file)
        manifest = import_source(file, dataset, splits=(0.7, 0.1, 0.2))  # or: matsciml data import FILE DIR
        print({name: split.count for name, split in manifest.splits.items()})
        data = MatSciMLDataModule(
            train_path=dataset,
            batch_size=8,
            transforms=[
                PeriodicPropertiesTransform(5.0, adaptive_cutoff=True),
                PointCloudToGraphTransform("pyg"),
            ],
        )
        task = ForceRegressionTask(
            SchNet(hidden_dim=32, output_dim=32, num_conv=2, cutoff=5.0), normalize_kwargs="auto", lr=3e-3
        )
        trainer = pl.Trainer(
            max_epochs=3,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, datamodule=data)
        errors = trainer.test(task, datamodule=data, verbose=False)[0]
        print(f"force error: {errors['test_force_mae']:.3f} eV/angstrom")


if __name__ == "__main__":
    main()
