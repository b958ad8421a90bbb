"""`matsciml diagnose`: check within seconds whether a config describes a training that can work."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

from mml_diagnostics import Diagnosis, diagnose
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser

from matsciml.commands.fit import MatSciMLCLI, quieten
from matsciml.runs import console
from matsciml.runs.plan import option_keys, plan_run

REPLACED: dict[str, object] = {
    "fast_dev_run": 1,
    "logger": False,
    "callbacks": None,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "default_root_dir": None,
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
}
"""Trainer options that replace those of the config during a diagnosis."""


def run_diagnose(arguments: list[str], debug: bool) -> int:
    """Diagnose a config, print the table, and return the exit status.

    Parameters
    ----------
    arguments
        Arguments after ``diagnose`` on the command line: the options of ``fit``.
    debug
        Whether to show messages of libraries.

    Returns
    -------
    int
        0 if the diagnosis has neither warnings nor errors, and 1 otherwise.

    Raises
    ------
    ValueError
        If an option of ``fit`` has no effect on a diagnosis.
    RuntimeError
        If training did not start, so that no batch is available.
    """
    if not debug:
        quieten()
    _check_options(arguments)
    with as_file(files("matsciml") / "configs" / "emt.yaml") as default:
        diagnosis = _DiagnoseCLI(plan_run("fit", arguments, default)).watch.diagnosis
    if diagnosis is None:
        raise RuntimeError(
            "training did not start, so no batch could be diagnosed; check that the training split is "
            "not empty"
        )
    console.say(str(diagnosis))
    return 0 if diagnosis.healthy else 1


def _check_options(arguments: list[str]) -> None:
    """Reject options of ``fit`` that have no effect on a diagnosis."""
    own = ("ckpt_path", "init_from", "normalizer", "schedule", "untrained", "name", "runs_dir")
    for key in option_keys(arguments):
        if key in own:
            raise ValueError(
                f"--{key} has no effect on diagnose, which checks a new training and writes no files; "
                "remove the option"
            )
        if key.partition(".")[0] == "trainer" and key.split(".")[1:2] and key.split(".")[1] in REPLACED:
            raise ValueError(
                f"--{key} has no effect on diagnose, which runs one batch in one process without "
                "callbacks and loggers; remove the option"
            )


class _Watch(Callback):
    """Callback that diagnoses the module with the first batch, once training is set up."""

    def __init__(self) -> None:
        self.diagnosis: Diagnosis | None = None

    def on_train_batch_start(  # type: ignore[override]  # Lightning ends the epoch on -1
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> int | None:
        """Run the diagnosis and skip the batch."""
        self.diagnosis = diagnose(pl_module, batch, trainer.train_dataloader)
        trainer.should_stop = True
        return -1


class _DiagnoseCLI(MatSciMLCLI):
    """CLI that runs a fit which ends before its first step."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Create a trainer that writes nothing and whose only callback is the diagnosis."""
        self.watch = _Watch()
        config = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        config |= REPLACED
        return self._instantiate_trainer(config, [self.watch])

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments for a new training, even if the config is from a continued run."""
        super().parse_arguments(parser, args)
        self.config["fit"]["ckpt_path"] = None

    def after_instantiate_classes(self) -> None:
        """Do nothing, because a diagnosis neither loads nor writes files."""

    def before_fit(self) -> None:
        """Print nothing."""

    def after_fit(self) -> None:
        """Write nothing."""
