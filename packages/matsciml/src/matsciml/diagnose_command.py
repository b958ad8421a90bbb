"""`matsciml diagnose`: whether a config describes a training that can work, in seconds."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

from mml_diagnostics import Diagnosis, diagnose
from pytorch_lightning import Callback, LightningModule, Trainer

from matsciml import console
from matsciml.plan import plan_run
from matsciml.training import MatSciMLCLI, quieten

USAGE = """\
usage: matsciml diagnose [--config FILE] [options of `matsciml fit`]

Look at a config's data and model before training: are the numbers of the data
finite and plausible, do gradients reach every parameter, is the output
invariant, are the targets normalised, can one batch be learned by heart in 50
steps, does training wait for data. Nothing is written. The exit status is 0
where all is well, and 1 where there is a warning or an error.

examples:
  matsciml diagnose
  matsciml diagnose --config my.yaml --data.init_args.batch_size 64
"""


def run_diagnose(arguments: list[str], debug: bool) -> int:
    """Diagnose what a config describes, print the table, and return the exit status.

    Parameters
    ----------
    arguments
        What follows ``diagnose`` on the command line: the options of ``fit``.
    debug
        Let messages of libraries through.
    """
    if {"-h", "--help"} & set(arguments):
        console.say(USAGE.rstrip())
        return 0
    if not debug:
        quieten()
    with as_file(files("matsciml") / "configs" / "emt.yaml") as default:
        diagnosis = _DiagnoseCLI(plan_run("fit", arguments, default)).watch.diagnosis
    if diagnosis is None:
        raise RuntimeError("training did not begin, so there is no batch to look at")
    console.say(str(diagnosis))
    return 0 if diagnosis.healthy else 1


class _Watch(Callback):
    """Diagnoses the module with the first batch, when all is set up for training."""

    def __init__(self) -> None:
        self.diagnosis: Diagnosis | None = None

    def on_train_batch_start(  # type: ignore[override]  # Lightning reads -1 as the end of the epoch
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> int | None:
        """Diagnose, and leave the batch out."""
        self.diagnosis = diagnose(pl_module, batch, trainer.train_dataloader)
        trainer.should_stop = True
        return -1


class _DiagnoseCLI(MatSciMLCLI):
    """A fit that ends before its first step."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make a trainer that writes nothing, with no callback but ours."""
        self.watch = _Watch()
        config = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        config |= {
            "fast_dev_run": 1,
            "logger": False,
            "callbacks": None,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "devices": 1,
            "num_nodes": 1,
            "strategy": "auto",
        }
        return self._instantiate_trainer(config, [self.watch])

    def before_fit(self) -> None:
        """Say nothing."""

    def after_fit(self) -> None:
        """Write nothing."""
