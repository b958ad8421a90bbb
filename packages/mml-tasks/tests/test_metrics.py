import numpy as np
import pytest
import torch
from mml_tasks.losses.metrics import classification_metrics, regression_metrics, update_regression


def test_errors_are_exact_over_uneven_batches():
    generator = torch.Generator().manual_seed(0)
    metrics = regression_metrics("energy", extensive=True)
    rows = []
    for size in (5, 1, 3):
        prediction, target = torch.randn(2, size, 1, generator=generator)
        natoms = torch.randint(1, 9, (size,), generator=generator)
        update_regression(metrics, "energy", prediction, target, natoms)
        rows.append(
            torch.cat([prediction - target, (prediction - target) / natoms.view(-1, 1)], dim=1).numpy()
        )
    errors = np.concatenate(rows).astype(np.float64)
    found = {name: metric.compute().item() for name, metric in metrics.items()}
    assert found == pytest.approx(
        {
            "energy_mae": np.abs(errors[:, 0]).mean(),
            "energy_rmse": np.sqrt((errors[:, 0] ** 2).mean()),
            "energy_per_atom_mae": np.abs(errors[:, 1]).mean(),
        },
        rel=1e-5,
    )


def test_metrics_are_named_after_target():
    assert set(regression_metrics("force", extensive=False)) == {"force_mae", "force_rmse"}
    assert set(classification_metrics("label")) == {"label_accuracy"}
