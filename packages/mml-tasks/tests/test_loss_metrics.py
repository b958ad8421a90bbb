import pytest
import torch
from mml_tasks.losses.loss_metrics import MeanLoss, make_loss_metrics, update_loss_metrics
from mml_tasks.losses.loss_terms import LossTerms


def terms(*pairs: tuple[float, float]) -> list[LossTerms]:
    return [LossTerms(torch.tensor(total), torch.tensor(weight)) for total, weight in pairs]


def test_mean_covers_all_labels():
    metric = MeanLoss(2)
    metric.update(terms((6.0, 2.0), (1.0, 1.0)), [1.0, 10.0])
    metric.update(terms((0.0, 4.0), (5.0, 1.0)), [1.0, 10.0])
    assert metric.compute().item() == pytest.approx(6 / 6 + 10 * 6 / 2)


def test_target_without_labels_adds_zero():
    metric = MeanLoss(2)
    metric.update(terms((6.0, 2.0), (0.0, 0.0)), [1.0, 1.0])
    assert metric.compute().item() == pytest.approx(3.0)


def test_loss_without_any_label_is_nan():
    metric = MeanLoss(2)
    metric.update(terms((0.0, 0.0), (0.0, 0.0)), [1.0, 1.0])
    assert metric.compute().isnan()


def test_current_weights_are_logged_only_if_they_differ():
    metrics = make_loss_metrics(["energy"])
    found = {"energy": terms((2.0, 1.0))[0]}
    updated = update_loss_metrics(metrics, "val", found, {"energy": 3.0}, {"energy": 3.0})
    assert list(updated) == ["val_loss"]
    updated = update_loss_metrics(metrics, "val", found, {"energy": 3.0}, {"energy": 5.0})
    assert {name: metric.compute().item() for name, metric in updated.items()} == {
        "val_loss": 6.0,
        "val_weighted_loss": 10.0,
    }
