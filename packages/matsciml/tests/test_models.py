"""Import paths of the older toolkit for encoders and tasks."""

import subprocess
import sys

import matsciml.models
import matsciml.models.base
import mml_models
import mml_tasks
import pytest
import torch
from mml_tasks import BaseTaskModule, MultiTaskLitModule
from mml_tasks.testing import ToyEncoder


def encoders() -> set[str]:
    return {
        name
        for name, value in vars(mml_models).items()
        if isinstance(value, type) and issubclass(value, torch.nn.Module)
    } - {"GraphEncoder"}


def test_models_lists_all_tasks_and_encoders():
    tasks = {
        name
        for name, value in vars(mml_tasks).items()
        if isinstance(value, type) and issubclass(value, (BaseTaskModule, MultiTaskLitModule))
    }
    assert set(matsciml.models.base.__all__) == tasks
    assert set(matsciml.models.__all__) == tasks | encoders()


@pytest.mark.parametrize("module", [matsciml.models, matsciml.models.base])
def test_names_are_same_objects(module):
    for name in module.__all__:
        origin = mml_models if name in encoders() else mml_tasks
        assert getattr(module, name) is getattr(origin, name)


def test_checkpoint_names_mml_tasks(tmp_path):
    """An installation with mml-tasks alone can then load the checkpoint."""
    task = matsciml.models.base.MultiTaskLitModule(
        ("toy", matsciml.models.ScalarRegressionTask(encoder_class=ToyEncoder, task_keys=["band_gap"]))
    )
    checkpoint: dict = {}
    task.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "task.pt")
    stored = torch.load(tmp_path / "task.pt", weights_only=True)
    assert stored["multitask"]["toy/ScalarRegressionTask"]["class_path"].startswith("mml_tasks.")


def test_import_loads_no_models():
    code = "import matsciml, sys; sys.exit(any(n in sys.modules for n in ('mml_models', 'torch_geometric')))"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0
