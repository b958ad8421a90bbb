"""`matsciml fit | validate | test | predict`: Lightning's command line, with a run directory and a report."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from importlib.resources import as_file, files
from typing import Any

import mml_models  # noqa: F401  a config may name its encoders by their class names alone
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

import matsciml  # noqa: F401  registers accelerators and strategies
from matsciml import console
from matsciml.checkpoints import check_checkpoint
from matsciml.config_errors import raise_readable
from matsciml.interruption import GracefulInterruption, TrainingInterrupted
from matsciml.plan import RunPlan, plan_run
from matsciml.predictions import PredictionCollector, PredictionWriter
from matsciml.run_directory import RUN_VARIABLE, RunLogger, checkpoint_of, trim_metrics
from matsciml.save_config import SaveConfigAtStart
from matsciml.summary import write_results

# Errors come back to us, and the beginning of an option's name is not taken for the option.
_STRICT = {"exit_on_error": False, "allow_abbrev": False}


def run_training(command: str, arguments: list[str], debug: bool) -> int:
    """Run one of Lightning's four commands and return the exit status.

    Parameters
    ----------
    command
        ``fit``, ``validate``, ``test`` or ``predict``.
    arguments
        What follows it on the command line.
    debug
        Let messages of libraries through.
    """
    if not debug:
        quieten()
    with as_file(files("matsciml") / "configs" / "emt.yaml") as default:
        plan = plan_run(command, arguments, default)
        try:
            MatSciMLCLI(plan)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            text = f"checkpoint {plan.checkpoint} is of another model than the config describes: {error}"
            raise ValueError(text) from error
        except TrainingInterrupted as stop:
            option = f" --name {plan.name}" if plan.name else ""
            console.say(f"{stop}\ncontinue with: matsciml fit{option} --ckpt_path last")
            return 128 + stop.signum
        finally:
            os.environ.pop(RUN_VARIABLE, None)
    return 0


def quieten() -> None:
    """Leave out what libraries say about themselves; warnings about the user's own run stay."""
    for name in (
        "pytorch_lightning.utilities.rank_zero",
        "lightning_fabric.utilities.seed",
        "lightning.pytorch",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings(
        "ignore", message=".*callbacks used to create the checkpoint need to be provided.*"
    )
    warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated.*")  # Lightning 2.6 with torch 2.15


class MatSciMLCLI(LightningCLI):
    """Lightning's command line for one command, writing into one run directory.

    Parameters
    ----------
    plan
        What to do, and where.
    """

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.collector = PredictionCollector()
        self.started = time.monotonic()
        with raise_readable(plan.command):
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=SaveConfigAtStart,
                save_config_kwargs={"overwrite": True},
                seed_everything_default=0,
                parser_kwargs={"prog": "matsciml", **_STRICT, plan.command: _STRICT},
                args=[plan.command, *plan.arguments],
            )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, without Lightning's warning that arguments came from a list."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Leave the model to the config: a checkpoint of another model is an error, not another model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that are ours."""
        parser.add_argument(
            "--name", type=str | None, default=None, help="The run is kept under RUNS_DIR/NAME."
        )
        parser.add_argument("--runs_dir", type=str, default="runs", help="Where the runs are kept.")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer write into the run directory, and add the callbacks that every run has."""
        config = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        quick = bool(config.get("fast_dev_run"))
        own: list[Callback] = [self.collector]
        loggers = config.get("logger")
        others = loggers if isinstance(loggers, list) else [loggers]
        # A quick run has Lightning put a dummy in the place of each.
        config["logger"] = [RunLogger(self.plan.run), *(x for x in others if not isinstance(x, bool | None))]
        if not quick:
            config["default_root_dir"] = str(self.plan.run)
        if self.subcommand == "fit" and not quick:
            given = config.get("callbacks") or []
            given = given if isinstance(given, list) else [given]
            if not any(isinstance(callback, ModelCheckpoint) for callback in given):
                folder = checkpoint_of(self.plan.run, "best").parent
                own.append(
                    ModelCheckpoint(
                        folder,
                        "best",
                        monitor="val_loss",
                        save_last=True,
                        enable_version_counter=False,
                        auto_insert_metric_name=False,
                    )
                )
            own.append(GracefulInterruption(checkpoint_of(self.plan.run, "last")))
        if self.subcommand == "predict":
            own.append(PredictionWriter(self.plan.run / "predictions.jsonl"))
        return self._instantiate_trainer(config, own)

    def after_instantiate_classes(self) -> None:
        """Check the checkpoint against the model before anything is written."""
        if self.plan.checkpoint:
            step = check_checkpoint(self.plan.checkpoint, self.model)
            if self.plan.continued:
                rank_zero_only(trim_metrics)(self.plan.run, step)
        os.environ[RUN_VARIABLE] = str(self.plan.run)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Load checkpoints without running what may be pickled in them, unless that is asked for."""
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if kwargs.get("weights_only") is None:
            kwargs["weights_only"] = True
        if subcommand == "test":
            kwargs["verbose"] = False  # our table follows
        return kwargs

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it; what ends before the first optimizer step leaves no run directory behind."""
        run, new = self.plan.run, not self.plan.run.exists()
        try:
            super()._run_subcommand(subcommand)
        except BaseException:
            if new and self.trainer.is_global_zero and self.trainer.global_step == 0:
                shutil.rmtree(run, ignore_errors=True)
                if run.parent.is_dir() and not any(run.parent.iterdir()):
                    run.parent.rmdir()
            raise

    def before_fit(self) -> None:
        """Say what is going to happen."""
        console.say_start(self.trainer, self.model, self.datamodule, self.plan)

    def after_fit(self) -> None:
        """Evaluate the best model on held-out data and write the report."""
        if self._get(self.config_init, "trainer")["fast_dev_run"]:
            return
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        if self.datamodule is not None and _has_test_data(self.datamodule):
            self.trainer.test(
                self.model,
                datamodule=self.datamodule,
                ckpt_path=best or None,
                verbose=False,
                weights_only=True,
            )
        self._write_results()

    def _write_results(self) -> None:
        """Write summary.json and the report, and print the table."""
        if self.trainer.is_global_zero:
            seconds = time.monotonic() - self.started
            write_results(self.trainer, self.model, self.datamodule, self.collector, self.plan, seconds)

    def after_test(self) -> None:
        """Write the report of an evaluation."""
        self._write_results()

    def predict(self, **kwargs: Any) -> None:
        """Predict, keeping nothing in memory."""
        self.trainer.predict(**{**kwargs, "return_predictions": False})

    def after_predict(self) -> None:
        """Say where the predictions are."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, PredictionWriter):
                console.say(f"{callback.count} predictions in {callback.path}")


def _has_test_data(datamodule: LightningDataModule) -> bool:
    """Say whether the data module gives test data."""
    datamodule.setup("test")
    loader = datamodule.test_dataloader()
    return loader is not None and len(loader) > 0
