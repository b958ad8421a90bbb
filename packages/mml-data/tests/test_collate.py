import pytest
import torch
from mml_data import MatSciMLDataModule
from mml_data.loading.collate import check_collate
from mml_graphs import (
    GraphCollate,
    PeriodicPropertiesTransform,
    PointCloudToGraphTransform,
    collate_samples,
)


class Wider(PeriodicPropertiesTransform):
    pass


NEIGHBORS, GRAPH = PeriodicPropertiesTransform(6.0), PointCloudToGraphTransform("pyg")


def collate_of(data):
    return data.train_dataloader().collate_fn.collate


@pytest.mark.parametrize("option", ["auto", "fused"])
def test_graph_transforms_are_fused(stored, option):
    data = MatSciMLDataModule(train_path=stored, transforms=[NEIGHBORS, GRAPH], collate=option)
    assert isinstance(collate_of(data), GraphCollate)


@pytest.mark.parametrize("transforms", [[], [NEIGHBORS], [GRAPH, NEIGHBORS], [Wider(6.0), GRAPH]])
def test_auto_falls_back_to_plain(stored, transforms):
    data = MatSciMLDataModule(train_path=stored, transforms=transforms)
    assert collate_of(data) is collate_samples


def test_plain_equals_fused(stored):
    plain, fused = (
        MatSciMLDataModule(train_path=stored, transforms=[NEIGHBORS, GRAPH], collate=option, batch_size=5)
        for option in ("plain", "fused")
    )
    assert collate_of(plain) is collate_samples
    for one, other in zip(plain.val_dataloader(), fused.val_dataloader(), strict=True):
        assert one["sample_id"] == other["sample_id"]
        torch.testing.assert_close(one["pos"], other["pos"])
        torch.testing.assert_close(one["distances"].sort().values, other["distances"].sort().values)


@pytest.mark.parametrize(
    ("transforms", "found"),
    [
        ([], "no transforms"),
        ([GRAPH], "PointCloudToGraphTransform"),
        ([Wider(6.0), GRAPH], r"Wider \(a subclass of PeriodicPropertiesTransform\), PointCloud"),
        ([NEIGHBORS, GRAPH, len], "PointCloudToGraphTransform, len"),
    ],
)
def test_fused_requires_graph_transforms(stored, transforms, found):
    with pytest.raises(ValueError, match=rf"requires that the last two transforms are .* got {found}"):
        MatSciMLDataModule(train_path=stored, transforms=transforms, collate="fused")


def test_unknown_option_raises():
    with pytest.raises(ValueError, match="collate must be 'auto', 'fused' or 'plain', got 'fast'"):
        check_collate("fast", [])
