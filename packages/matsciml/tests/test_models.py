"""The older toolkit's paths of encoders and tasks."""

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


def test_every_task_of_mml_tasks_is_here():
    tasks = {
        name
        for name, value in vars(mml_tasks).items()
        if isinstance(value, type) and issubclass(value, (BaseTaskModule, MultiTaskLitModule))
    }
    assert set(matsciml.models.base.__all__) == tasks
    assert set(matsciml.models.__all__) == tasks | encoders()


@pytest.mark.parametrize("module", [matsciml.models, matsciml.models.base])
def test_names_are_the_same_objects(module):
    for name in module.__all__:
        origin = mml_models if name in encoders() else mml_tasks
        assert getattr(module, name) is getattr(origin, name)


def test_a_checkpoint_of_a_task_that_was_made_here_is_one_of_mml_tasks(tmp_path):
    """So that it can be read where only mml-tasks is installed."""
    task = matsciml.models.base.MultiTaskLitModule(
        ("toy", matsciml.models.ScalarRegressionTask(encoder_class=ToyEncoder, task_keys=["band_gap"]))
    )
    checkpoint: dict = {}
    task.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "task.pt")
    stored = torch.load(tmp_path / "task.pt", weights_only=True)
    assert stored["multitask"]["toy/ScalarRegressionTask"]["class_path"].startswith("mml_tasks.")


def test_importing_matsciml_does_not_import_models():
    code = "import matsciml, sys; sys.exit(any(n in sys.modules for n in ('mml_models', 'torch_geometric')))"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0
