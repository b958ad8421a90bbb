import pytest
from matsciml.cli import main


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Directory with a short run of the default config. Do not write to it."""
    folder = tmp_path_factory.mktemp("runs")
    limits = [
        f"--trainer.limit_{split}_batches={count}" for split, count in (("train", 3), ("val", 1), ("test", 1))
    ]
    quiet = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--runs_dir", str(folder)]
    assert main(["fit", *quiet, *limits]) == 0
    return folder
