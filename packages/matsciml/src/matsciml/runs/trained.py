"""Load a trained task from a run's checkpoint, together with the transforms of its training data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from mml_tasks.hyperparameters import import_class
from mml_tasks.pretrained import read_checkpoint
from pytorch_lightning import LightningModule

from matsciml.runs.instances import instantiate

if TYPE_CHECKING:
    from mml_data.transforms import Transform


@dataclass(frozen=True)
class Trained:
    """A task with its trained weights, and the transforms that prepare samples for it.

    Attributes
    ----------
    task
        The task on the CPU, in evaluation mode.
    transforms
        Transforms of the training data, in order.
    """

    task: Any
    transforms: list[Transform]


def load_trained(checkpoint: str | Path, config: str | Path | None = None) -> Trained:
    """Load a task that `matsciml fit` has trained, with the transforms of its data.

    Parameters
    ----------
    checkpoint
        Path of a run's checkpoint. The classes of the task and the encoder named in the checkpoint are
        imported, so load only checkpoints that you trust.
    config
        Path of the run's ``config.yaml``, whose ``data`` section contains the transforms. Default: the file
        two folders above the checkpoint, as in the directory of a run.

    Raises
    ------
    FileNotFoundError
        If the checkpoint or the config does not exist.
    ValueError
        If another program wrote the checkpoint, or if the config has no data module with transforms.
    """
    checkpoint = Path(checkpoint)
    stored = read_checkpoint(checkpoint).get("hyper_parameters", {})
    if "_class_path" not in stored:
        raise ValueError(
            f"{checkpoint} does not contain the class of its task, so `matsciml fit` did not write it; "
            "load it with load_from_checkpoint of the task's class"
        )
    transforms = read_transforms(checkpoint.parent.parent / "config.yaml" if config is None else Path(config))
    task = import_class(stored["_class_path"], "_class_path of the checkpoint", LightningModule)
    loaded = task.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    return Trained(loaded.eval(), transforms)


def load_calculator(
    checkpoint: str | Path,
    config: str | Path | None = None,
    *,
    unknown_elements: Literal["refuse", "warn"] = "refuse",
    **kwargs: Any,
) -> Any:
    """Return the ASE calculator of a task that `matsciml fit` has trained.

    Parameters
    ----------
    checkpoint, config
        See `load_trained`.
    unknown_elements
        Action for atoms of an element that the training data did not contain: ``"refuse"`` raises an error,
        ``"warn"`` logs a warning.
    **kwargs
        Arguments of `mml_tasks.ase_calculator.TaskCalculator`, such as ``conversion_factor``.

    Raises
    ------
    FileNotFoundError, ValueError
        If the task cannot be loaded (see `load_trained`), or if it predicts neither energy nor forces.
    ImportError
        If ASE is not installed. The message contains the install command.
    """
    trained = load_trained(checkpoint, config)
    trained.task.unknown_elements = unknown_elements
    return trained.task.as_ase_calculator(trained.transforms, **kwargs)


def read_transforms(config: Path) -> list[Transform]:
    """Create the transforms of the data module that a config describes.

    Raises
    ------
    FileNotFoundError
        If the config does not exist.
    ValueError
        If the config has no list of transforms, or a transform cannot be created.
    """
    if not config.is_file():
        raise FileNotFoundError(
            f"{config}, which describes the transforms of the run, does not exist; pass the run's config.yaml"
        )
    read = yaml.safe_load(config.read_text(encoding="utf-8"))
    data = read.get("data") if isinstance(read, dict) else None
    listed = data.get("init_args", {}).get("transforms") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise ValueError(
            f"{config} has no data.init_args.transforms; pass the config.yaml of a run of `matsciml fit`"
        )
    return [instantiate(item, str(config)) for item in listed]
