"""`matsciml init NAME`: write a commented config for a data set, an encoder and a task."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mml_models
from mml_data import Manifest, devset_path
from mml_data.devsets import DEVSETS
from mml_tasks.tasks.classification import CRYSTAL_SYMMETRY_CLASSES
from rich.console import Console
from torch import nn

TASKS = {
    "force": "ForceRegressionTask",
    "scalar": "ScalarRegressionTask",
    "binary": "BinaryClassificationTask",
    "symmetry": "CrystalSymmetryClassificationTask",
}
"""Mapping from a value of ``--task`` to the class of the task."""

CONFIG = """\
# Made by `matsciml init {name}`. Train it:
#   matsciml fit --config {name}.yaml
# Any line can be overridden: --trainer.max_epochs 50 --data.init_args.batch_size 32
seed_everything: 0        # the same numbers in every run; true draws another seed
name: {name}              # the run is kept in runs/{name}/
trainer:                  # all options of Lightning's Trainer
  max_epochs: 20
  accelerator: auto       # cpu, cuda or xpu, whatever is there
  devices: 1
  gradient_clip_val: 10.0
  log_every_n_steps: 10
  enable_model_summary: false
  callbacks:
    - class_path: mml_diagnostics.GradientCheckCallback    # finds NaN and Inf gradients
    - class_path: mml_diagnostics.TrainingHelperCallback   # says what looks wrong, every 50 steps
    - class_path: mml_diagnostics.ThroughputCallback       # structures a second, wait for data
    # - class_path: mml_diagnostics.ModelAutocorrelation   # warns before a loss spike
model:
  class_path: mml_tasks.{task}
  init_args:
    encoder:
      class_path: mml_models.{encoder}{others}
      init_args:
        hidden_dim: 64
        output_dim: 64
        num_conv: 3       # layers that pass messages: each sees one cutoff further
        cutoff: {cutoff}       # angstrom; at most the cutoff_radius below
        reduction: {reduction}   # {reduction_why}
    task_keys: [{targets}]
{options}    lr: 0.002
    scheduler_kwargs:
      OneCycleLR: {{}}      # its length is that of the training
data:
  class_path: mml_data.MatSciMLDataModule
  init_args:
    {source}
    batch_size: 16
    num_workers: 0        # processes that load; 0 loads in the training process
{splits}    transforms:
      - class_path: mml_graphs.PeriodicPropertiesTransform
        init_args:
          cutoff_radius: {cutoff}
          adaptive_cutoff: true   # grows the cutoff where an atom would have no neighbour
      - class_path: mml_graphs.PointCloudToGraphTransform
        init_args:
          backend: pyg
"""

FORCE_OPTIONS = """\
    normalize_kwargs: auto  # mean and spread of the training data; kept in the checkpoint
    task_loss_scaling:      # weights of the parts of the loss
      energy: 10.0
      force: 1.0
    # compute_stress: true  # the data need a target 'stress'
"""
SCALAR_OPTIONS = """\
    normalize_kwargs: auto  # mean and spread of the training data; kept in the checkpoint
"""


def init_parser() -> argparse.ArgumentParser:
    """Create the parser for the arguments after ``init`` on the command line."""
    parser = argparse.ArgumentParser(
        prog="matsciml init",
        allow_abbrev=False,
        description="Write NAME.yaml, a commented config for `matsciml fit`.",
    )
    parser.add_argument("name", metavar="NAME", help="of the config and of its runs")
    parser.add_argument(
        "--data",
        default="emt",
        help="a data set's directory, or an embedded one: emt, prototypes (default: emt)",
    )
    parser.add_argument("--encoder", default="SchNet", help="a class of mml_models (default: SchNet)")
    parser.add_argument("--task", choices=TASKS, help="default: what the data's targets suggest")
    parser.add_argument("--targets", nargs="+", metavar="NAME", help="default: all that the task can learn")
    parser.add_argument("--cutoff", type=float, default=5.0, metavar="R", help="in angstrom (default: 5)")
    return parser


def run_init(arguments: list[str]) -> int:
    """Write the config and return the exit status.

    Parameters
    ----------
    arguments
        Arguments after ``init`` on the command line.

    Raises
    ------
    ValueError
        If the name contains a slash, or the arguments are invalid for the data set. See `make_config`.
    FileExistsError
        If the config file already exists.
    """
    options = init_parser().parse_args(arguments)
    path = Path(f"{options.name}.yaml")
    if path.name != str(path):
        raise ValueError(f"NAME {options.name!r} names a config and its runs: give one without slashes")
    if path.exists():
        raise FileExistsError(f"there is a {path} already: give another name, or remove it")
    text = make_config(
        options.name,
        data=options.data,
        encoder=options.encoder,
        task=options.task,
        targets=options.targets,
        cutoff=options.cutoff,
    )
    path.write_text(text, encoding="utf-8")
    Console(highlight=False).print(
        f"{path} is written; look through it, then\n"
        f"  matsciml diagnose --config {path}   says in seconds whether it can learn\n"
        f"  matsciml fit --config {path}        trains it"
    )
    return 0


def make_config(
    name: str,
    *,
    data: str = "emt",
    encoder: str = "SchNet",
    task: str | None = None,
    targets: Sequence[str] | None = None,
    cutoff: float = 5.0,
) -> str:
    """Return a config as YAML with comments.

    Parameters
    ----------
    name
        Name of the runs.
    data
        Directory of a data set, or name of an embedded one.
    encoder
        Name of an encoder class of `mml_models`.
    task
        A key of `TASKS`. Default: the first task that can learn the targets.
    targets
        Names of the targets to learn. Default: all targets of the data set that the task can learn.
    cutoff
        Cutoff radius in angstrom.

    Returns
    -------
    str
        Text of the config file.

    Raises
    ------
    FileNotFoundError, ValueError
        If the data set, the encoder or a target does not exist, the task cannot learn a target, or the cutoff
        is not positive.
    """
    embedded = data in DEVSETS and not Path(data).exists()
    manifest = Manifest.read(devset_path(data) if embedded else Path(data))
    known = manifest.statistics["all"]["targets"]
    if not known:
        raise ValueError(f"the data set {data!r} has no targets: there is nothing to learn from it")
    encoders = [each for each in mml_models.__all__ if _is_encoder(each)]
    if encoder not in encoders:
        raise ValueError(f"there is no encoder {encoder!r} in mml_models; there are {', '.join(encoders)}")
    if not cutoff > 0:
        raise ValueError(f"--cutoff must be above 0 angstrom, it is {cutoff:g}")
    learnable = {kind: _learnable(kind, known) for kind in TASKS}
    if task is None:
        wanted = set(targets or ())
        task = next((kind for kind in TASKS if learnable[kind] and wanted <= set(learnable[kind])), None)
        if task is None:
            raise ValueError(
                f"no task learns {', '.join(targets or known)} together; the data set {data!r} has "
                f"{_by_task(learnable)}"
            )
    if not learnable[task]:
        raise ValueError(
            f"{TASKS[task]} learns none of the targets of {data!r}, which has {_by_task(learnable)}"
        )
    for target in targets or ():
        if target not in learnable[task]:
            raise ValueError(
                f"{TASKS[task]} cannot learn {target!r} of {data!r}, only {', '.join(learnable[task])}"
            )
    extensive = task == "force"
    return CONFIG.format(
        name=name,
        task=TASKS[task],
        encoder=encoder,
        others=f"   # or {', '.join(each for each in encoders if each != encoder)}",
        cutoff=cutoff,
        reduction="sum " if extensive else "mean",
        reduction_why="energies add up over the atoms" if extensive else "what does not grow with the cell",
        targets=", ".join(targets or learnable[task]),
        options={"force": FORCE_OPTIONS, "scalar": SCALAR_OPTIONS}.get(task, ""),
        source=f"dataset: {data}" if embedded else f"train_path: {Path(data).resolve()}",
        splits="" if manifest.splits else "    val_split: 0.1\n    test_split: 0.1\n",
    )


def _is_encoder(name: str) -> bool:
    """Return whether a name is an encoder of this toolkit.

    Adapters to encoders of other libraries are excluded, because they have different options.
    """
    value = getattr(mml_models, name)
    if not isinstance(value, type) or value.__module__.startswith("mml_models.adapters"):
        return False
    return issubclass(value, nn.Module) and value not in _NO_ENCODERS


_NO_ENCODERS = (mml_models.GraphEncoder, mml_models.GenericEncoder)


def _learnable(task: str, known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the targets that a task can learn, in the order of the data."""
    if task == "force":
        return ["energy", "force"] if {"energy", "force"} <= known.keys() else []
    if task == "scalar":
        return [name for name, about in known.items() if "per_atom_mean" in about and "classes" not in about]
    if task == "binary":
        return [name for name, about in known.items() if set(about.get("classes", (-1,))) <= {0, 1}]
    return [name for name, about in known.items() if name in CRYSTAL_SYMMETRY_CLASSES and "classes" in about]


def _by_task(learnable: Mapping[str, Sequence[str]]) -> str:
    parts = [f"{', '.join(targets)} for --task {task}" for task, targets in learnable.items() if targets]
    return "; ".join(parts) or "nothing that a task learns"
