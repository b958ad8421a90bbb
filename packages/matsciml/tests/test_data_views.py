import io

import numpy as np
import pytest
from matsciml.commands.data_views import show_info, show_sample, show_statistics
from mml_data import LMDBWriter
from rich.console import Console


@pytest.fixture
def labels(tmp_path):
    """A data set with a number, a class, and missing values."""
    with LMDBWriter(tmp_path / "labels") as writer:
        for index in range(12):
            writer.add(
                {
                    "atomic_numbers": np.array([3, 9] * (1 + index % 2)),
                    "pos": np.arange(6.0 * (1 + index % 2)).reshape(-1, 3),
                    "targets": {"gap": np.nan if index == 2 else 0.5 * index, "kind": index % 3},
                    "target_types": {"regression": ["gap"], "classification": ["kind"]},
                }
            )
        writer.set_splits({"train": range(8), "val": range(8, 12)})
    return tmp_path / "labels"


@pytest.fixture
def console():
    return Console(width=80, record=True, file=io.StringIO(), highlight=False)


def test_info_lists_contents(labels, console):
    show_info(labels, console)
    shown = " ".join(console.export_text().split())
    for part in (
        "structures 12",
        "8 train, 4 val",
        "2 to 4 per structure, mean 3.0",
        "F Li",
        "3 classes",
        "1 structure",
    ):
        assert part in shown


def test_statistics_are_those_of_split(labels, console):
    show_statistics(labels, "val", console)
    shown = console.export_text()
    assert shown.startswith("4 structures of labels, split val")
    assert max(map(len, shown.splitlines())) <= 80


def test_sample_shows_keys(labels, console):
    show_sample(labels, 1, "val", console)
    shown = " ".join(console.export_text().split())
    assert "targets.gap" in shown
    assert "float64 [4, 3]" in shown


def test_index_out_of_range_raises(labels, console):
    with pytest.raises(ValueError, match="INDEX must be below 4, the number of samples in labels, got 9"):
        show_sample(labels, 9, "val", console)
