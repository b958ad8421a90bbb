"""`matsciml init NAME`: write a commented config for a data set, an encoder and a task."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

# These names are listed here, because importing mml_models and mml_tasks takes seconds.
ENCODERS = ("EGNN", "MEGNet", "PaiNN", "SchNet", "TensorNet")
"""Encoders of mml-models. Adapters to encoders of other libraries are excluded: they have other options."""

SYMMETRY_TARGETS = ("crystal_system", "space_group")
"""Targets of `mml_tasks.CrystalSymmetryClassificationTask`."""

TASKS = {
    "force": "ForceRegressionTask",
    "scalar": "ScalarRegressionTask",
    "binary": "BinaryClassificationTask",
    "symmetry": "CrystalSymmetryClassificationTask",
    "classes": "MulticlassClassificationTask",
    "vector": "VectorRegressionTask",
    "tensor": "TensorRegressionTask",
    "spectrum": "SpectrumRegressionTask",
}
"""Mapping from a value of ``--task`` to the class of the task."""

CONFIG = """\
# Written by `matsciml init {name}`. To train:
#   matsciml fit --config {name}.yaml
# Options override lines of this file: --trainer.max_epochs 50 --data.init_args.batch_size 32
seed_everything: 0        # seed of all random numbers; true draws a new seed
name: {name}              # results are written to runs/{name}/
trainer:                  # accepts all options of Lightning's Trainer
  max_epochs: 20
  accelerator: auto       # cuda or xpu if available, otherwise cpu
  devices: 1
  gradient_clip_val: 10.0
  log_every_n_steps: 10
  enable_model_summary: false
  callbacks:
    - class_path: mml_diagnostics.GradientCheckCallback    # finds NaN and Inf gradients
    - class_path: mml_diagnostics.TrainingHelperCallback   # checks the training every 50 steps
    - class_path: mml_diagnostics.ThroughputCallback       # structures per second, time spent waiting
    # - class_path: mml_diagnostics.ModelAutocorrelation   # warns before a loss spike
model:
  class_path: mml_tasks.{task}
  init_args:
    encoder:
      class_path: mml_models.{encoder}{others}
      init_args:
        hidden_dim: 64
        output_dim: 64
        num_conv: 3       # message-passing layers; each adds one cutoff to the range
        cutoff: {cutoff}       # angstrom; at most the cutoff_radius below
        reduction: {reduction}   # {reduction_why}
    task_keys: [{targets}]
{options}    lr: 0.002
    scheduler_kwargs:
      OneCycleLR: {{}}      # spans the whole training
data:
  class_path: mml_data.MatSciMLDataModule
  init_args:
    {source}
    batch_size: 16
    num_workers: 0        # loader processes; 0 loads in the training process
{splits}    transforms:
      - class_path: mml_graphs.PeriodicPropertiesTransform
        init_args:
          cutoff_radius: {cutoff}
          adaptive_cutoff: true   # increases the cutoff until every atom has a neighbor
      - class_path: mml_graphs.PointCloudToGraphTransform
        init_args:
          backend: pyg
"""

FORCE_OPTIONS = """\
    normalize_kwargs: auto  # mean and spread of the training data, saved in the checkpoint
    task_loss_scaling:      # weights of the loss terms
      energy: 10.0
      force: 1.0
    {stress}
"""
SCALAR_OPTIONS = """\
    normalize_kwargs: auto  # mean and spread of the training data, saved in the checkpoint
"""


def init_parser() -> argparse.ArgumentParser:
    """Create the parser for the arguments after ``init`` on the command line."""
    parser = argparse.ArgumentParser(
        prog="matsciml init",
        allow_abbrev=False,
        description="Write NAME.yaml, a commented config for `matsciml fit`.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the config and of its runs")
    parser.add_argument(
        "--data",
        default="emt",
        help="directory of a data set, or name of an embedded one: emt, prototypes (default: emt)",
    )
    parser.add_argument("--encoder", default="SchNet", help="encoder class of mml_models (default: SchNet)")
    parser.add_argument(
        "--task", choices=TASKS, help="kind of task (default: the first one that can learn the targets)"
    )
    parser.add_argument(
        "--targets",
        nargs="+",
        metavar="NAME",
        help="targets to learn (default: all targets that the task can learn)",
    )
    parser.add_argument(
        "--cutoff", type=float, default=5.0, metavar="R", help="cutoff in angstrom (default: 5)"
    )
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
        raise ValueError(f"NAME must not contain slashes, got {options.name!r}")
    if path.exists():
        raise FileExistsError(f"{path} already exists; choose another NAME or remove the file")
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
        f"{path} written. Review it, then run\n"
        f"  matsciml diagnose --config {path}   to check it within seconds\n"
        f"  matsciml fit --config {path}        to train"
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
    from mml_data import Manifest, devset_path
    from mml_data.devsets import DEVSETS
    from mml_data.loading.target_facts import with_target_facts

    embedded = data in DEVSETS and not Path(data).exists()
    manifest = Manifest.read(devset_path(data) if embedded else Path(data))
    known = with_target_facts(manifest.statistics["all"]["targets"], manifest.schema)
    if not known:
        raise ValueError(f"the data set {data!r} has no targets to learn; import it with --targets")
    if encoder not in ENCODERS:
        raise ValueError(f"--encoder must be one of {', '.join(ENCODERS)}, got {encoder!r}")
    if not cutoff > 0:
        raise ValueError(f"--cutoff must be above 0 angstrom, got {cutoff:g}")
    learnable = {kind: _learnable(kind, known) for kind in TASKS}
    if task is None:
        wanted = set(targets or ())
        task = next((kind for kind in TASKS if learnable[kind] and wanted <= set(learnable[kind])), None)
        if task is None:
            raise ValueError(
                f"no task can learn {', '.join(targets or known)} together; the data set {data!r} provides "
                f"{_by_task(learnable)}{_unlearnable(known, learnable)}"
            )
    if not learnable[task]:
        raise ValueError(
            f"{TASKS[task]} can learn none of the targets of {data!r}, which provides "
            f"{_by_task(learnable)}{_unlearnable(known, learnable)}"
        )
    for target in targets or ():
        if target not in learnable[task]:
            raise ValueError(
                f"{TASKS[task]} cannot learn target {target!r} of {data!r}; it can learn "
                f"{', '.join(learnable[task])}"
            )
    extensive = task == "force"
    chosen = list(targets or [name for name in learnable[task] if not (extensive and name == "stress")])
    with_stress = "stress" in chosen
    stress = (
        "compute_stress: true" if with_stress else "# compute_stress: true  # requires the target 'stress'"
    )
    options = {"force": FORCE_OPTIONS.format(stress=stress)}
    options |= dict.fromkeys(("scalar", "vector", "tensor", "spectrum"), SCALAR_OPTIONS)
    return CONFIG.format(
        name=name,
        task=TASKS[task],
        encoder=encoder,
        others=f"   # or {', '.join(each for each in ENCODERS if each != encoder)}",
        cutoff=cutoff,
        reduction="sum " if extensive else "mean",
        reduction_why="for energies, which grow with the cell"
        if extensive
        else "for targets that do not grow",
        targets=", ".join(chosen),
        options=options.get(task, ""),
        source=f"dataset: {data}" if embedded else f"train_path: {Path(data).resolve()}",
        splits="" if manifest.splits else "    val_split: 0.1\n    test_split: 0.1\n",
    )


def _learnable(task: str, known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the targets that a task can learn, in the order of the data."""
    if task == "force":
        both = {"energy", "force"} <= known.keys()
        return [name for name in ("energy", "force", "stress") if both and name in known]
    if task == "scalar":
        return [name for name, about in known.items() if "per_atom_mean" in about and "classes" not in about]
    if task == "binary":
        return [name for name, about in known.items() if set(about.get("classes", (-1,))) <= {0, 1}]
    if task == "symmetry":
        return [
            name
            for name, about in known.items()
            if name in SYMMETRY_TARGETS and "classes" in about and "class_names" not in about
        ]
    if task == "classes":
        return [name for name, about in known.items() if min(about.get("classes", (-1,))) >= 0]
    return [name for name, about in known.items() if about.get("kind") == task and name != "stress"]


def _unlearnable(known: Mapping[str, Mapping[str, Any]], learnable: Mapping[str, Sequence[str]]) -> str:
    """Name the targets that no task can learn, with their kinds."""
    learned = {name for names in learnable.values() for name in names}
    left = [
        f"{name} ({about.get('kind', 'unknown kind')})"
        for name, about in known.items()
        if name not in learned
    ]
    return f"; no task can learn {', '.join(left)}, so choose other targets with --targets" if left else ""


def _by_task(learnable: Mapping[str, Sequence[str]]) -> str:
    parts = [f"{', '.join(targets)} for --task {task}" for task, targets in learnable.items() if targets]
    return "; ".join(parts) or "no target that a task can learn"
