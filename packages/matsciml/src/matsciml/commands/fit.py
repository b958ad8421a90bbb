"""`matsciml fit | validate | test | predict`: Lightning's command line, with a run directory and a report."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from functools import partial
from importlib.resources import as_file, files
from typing import Any, Literal

import mml_models  # noqa: F401  so that a config can name its encoders by their class names alone
import torch
from jsonargparse.typing import register_type
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

import matsciml  # noqa: F401  registers the accelerator and the strategies
from matsciml.report.predictions import PredictionCollector, PredictionWriter
from matsciml.report.summary import write_results
from matsciml.runs import console
from matsciml.runs.checkpoint_names import prepare_names
from matsciml.runs.checkpoints import check_checkpoint
from matsciml.runs.config_errors import raise_readable
from matsciml.runs.interruption import GracefulInterruption, TrainingInterrupted
from matsciml.runs.optimizer_options import check_optimizer, configure_optimizers
from matsciml.runs.plan import RunPlan, plan_run
from matsciml.runs.plateau_steps import PlateauSteps
from matsciml.runs.progress import RunProgressBar
from matsciml.runs.random_state import RandomState
from matsciml.runs.run_checkpoints import BestCheckpoint, LastCheckpoint
from matsciml.runs.run_directory import RUN_VARIABLE, checkpoint_of
from matsciml.runs.run_logger import RunLogger
from matsciml.runs.save_config import SaveConfigAtStart, SaveConfigOfContinued
from matsciml.runs.weight_averaging import check_averaging, swapped_in, without_averaging

# Without this registration, config.yaml contains "Unable to serialize instance cpu" for the device of
# StochasticWeightAveraging.
register_type(torch.device, str, torch.device, fail_already_registered=False)

# Raise errors instead of exiting, and do not accept abbreviated option names.
_STRICT = {"exit_on_error": False, "allow_abbrev": False}


def run_training(command: str, arguments: list[str], debug: bool) -> int:
    """Run one of Lightning's four commands and return the exit status.

    Parameters
    ----------
    command
        ``fit``, ``validate``, ``test`` or ``predict``.
    arguments
        Arguments after the command.
    debug
        Whether to show messages of libraries.
    """
    if not debug:
        quieten()
    with as_file(files("matsciml") / "configs" / "emt.yaml") as default:
        plan = plan_run(command, arguments, default)
        say_source(plan)
        try:
            MatSciMLCLI(plan)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            raise ValueError(
                f"checkpoint {plan.checkpoint} does not match the model of the config: {error}"
            ) from error
        except TrainingInterrupted as stop:
            option = f" --name {plan.name}" if plan.name else ""
            more = f"\nTo continue: matsciml fit{option} --ckpt_path last" if stop.checkpoint else ""
            console.say(f"{stop}{more}")
            return 128 + stop.signum
        finally:
            os.environ.pop(RUN_VARIABLE, None)
    return 0


def say_source(plan: RunPlan) -> None:
    """Print one line with the evaluated weights and the config.

    Parameters
    ----------
    plan
        Plan of any command. Nothing is printed for a fit, which prints its own first lines.
    """
    if plan.command != "fit" and (plan.checkpoint or plan.untrained):
        weights = plan.checkpoint or "untrained (random weights)"
        console.say(f"matsciml {plan.command}: {weights}, config {plan.config}")


def quieten() -> None:
    """Suppress informational messages of libraries. Warnings about the user's run are still shown."""
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
    """Lightning's command line for a single command that writes to one run directory.

    Parameters
    ----------
    plan
        Command, run directory and options.
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
                save_config_callback=None,  # `instantiate_trainer` adds it at its place
                seed_everything_default=0,
                parser_kwargs={"prog": "matsciml", **_STRICT, plan.command: _STRICT},
                args=[plan.command, *plan.arguments],
            )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments, and store the options of the plan in the config.

        Lightning's warning about arguments passed as a list is not issued.
        """
        self.config = parser.parse_args(args)
        plan, config = self.plan, self.config[self.plan.command]
        config["ckpt_path"] = str(plan.checkpoint) if plan.checkpoint else None
        config["init_from"] = str(plan.init_from) if plan.init_from else None
        config["normalizer"], config["schedule"] = plan.normalizer, plan.schedule
        config["untrained"] = plan.untrained

    def _parse_ckpt_path(self) -> None:
        """Do nothing: the config defines the model, and a checkpoint of another model is an error."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of this toolkit."""
        parser.add_argument(
            "--name",
            type=str | None,
            default=None,
            help="Name of the run, which is written to RUNS_DIR/NAME.",
        )
        parser.add_argument("--runs_dir", type=str, default="runs", help="Directory of all runs.")
        parser.add_argument(
            "--schedule",
            type=Literal["restart", "stretch", "keep"] | None,
            default=None,
            help="Learning-rate schedule of a continued run whose length or optimizer options have changed.",
        )
        parser.add_argument(
            "--init_from",
            type=str | None,
            default=None,
            help="Checkpoint (best, last or a file) whose weights a new fit starts from.",
        )
        parser.add_argument(
            "--normalizer",
            type=Literal["keep", "refit"] | None,
            default=None,
            help="With --init_from: keep the checkpoint's mean and spread, or refit them to the data.",
        )
        parser.add_argument(
            "--untrained",
            action="store_true",
            help="Evaluate random weights (test, validate, predict).",
        )

    def before_instantiate_classes(self) -> None:
        """Reject options that would be recorded but ignored."""
        config = self.config[self.plan.command]
        trainer = config["trainer"]
        if trainer.get("logger") is False:
            raise ValueError(
                "trainer.logger must not be false, because the report reads the metrics.csv that the logger "
                "writes; remove the option"
            )
        if trainer.get("default_root_dir"):
            raise ValueError(
                f"trainer.default_root_dir must not be set, got {trainer['default_root_dir']}; pass "
                "--runs_dir and --name, which determine the directory of the run"
            )
        if trainer.get("barebones"):
            raise ValueError(
                "trainer.barebones must not be true, because a run writes metrics and checkpoints; "
                "remove the option"
            )
        self.notes: list[str] = []
        if self.plan.command == "fit":
            unused = check_optimizer(config, self.plan.given)
            self.notes = [unused] if unused else []

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """Defer the creation of the command line's optimizer to the start of training."""
        config = self.config_init[subcommand]
        if config.get("optimizer"):
            made = partial(configure_optimizers, self.model, config["optimizer"], config.get("lr_scheduler"))
            self.model.configure_optimizers = made

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Create a trainer that writes to the run directory, with the callbacks that every run has."""
        config = {**self._get(self.config_init, "trainer", default={}), **kwargs}
        quick = bool(config.get("fast_dev_run"))
        given = config.get("callbacks") or []
        given = list(given) if isinstance(given, list | tuple) else [given]
        first: list[Callback] = []
        own: list[Callback] = [self.collector]
        loggers = config.get("logger")
        others = loggers if isinstance(loggers, list) else [loggers]
        # With fast_dev_run, Lightning replaces each logger with a dummy.
        config["logger"] = [RunLogger(self.plan.run), *(x for x in others if not isinstance(x, bool | None))]
        if not quick:
            config["default_root_dir"] = str(self.plan.run)
            kind = SaveConfigOfContinued if self.plan.continued else SaveConfigAtStart
            first.append(
                kind(
                    self._parser(self.subcommand),
                    self.config[self.subcommand],
                    directory=self.plan.run,
                    notes=self.notes,
                    overwrite=True,
                )
            )
        if self.subcommand == "fit":
            check_averaging(given)
            first = [RandomState(), PlateauSteps(), *first]
        else:
            given = without_averaging(given)
        if self.subcommand == "fit" and not quick:
            self.best, last = None, None
            if config.get("enable_checkpointing") is not False:
                best_path = checkpoint_of(self.plan.run, "best")
                prepare_names(given, best_path.parent)
                self.best, last = (
                    BestCheckpoint(best_path),
                    LastCheckpoint(checkpoint_of(self.plan.run, "last")),
                )
                own += [self.best, last]
            own.append(GracefulInterruption(last))
        if self.subcommand == "predict":
            own.append(PredictionWriter(self.plan.run / "predictions.jsonl"))
        if self.subcommand == "fit" and config.get("enable_progress_bar") is not False:
            own += [] if any(isinstance(c, ProgressBar) for c in given) else [RunProgressBar()]
        config["callbacks"] = [*first, *given, *own]
        return self._instantiate_trainer(config, [])

    def after_instantiate_classes(self) -> None:
        """Check the checkpoint against the model before anything is written."""
        if self.plan.checkpoint:
            check_checkpoint(self.plan.checkpoint, self.model)
        if self.plan.schedule:
            if not hasattr(self.model, "resume_schedule"):
                raise ValueError(
                    f"--schedule {self.plan.schedule} requires a task with an attribute resume_schedule, as "
                    f"in mml-tasks, got {type(self.model).__name__}; remove --schedule"
                )
            self.model.resume_schedule = self.plan.schedule
        if self.plan.init_from and not hasattr(self.model, "start_from"):
            raise ValueError(
                f"--init_from requires a task with a method start_from, as in mml-tasks, got "
                f"{type(self.model).__name__}; use one of them, or load the weights in the constructor"
            )
        os.environ[RUN_VARIABLE] = str(self.plan.run)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Set ``weights_only=True``, which runs no pickled code, unless the user has set another value."""
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if kwargs.get("weights_only") is None:
            kwargs["weights_only"] = True
        if subcommand == "test" and "verbose" not in self.plan.given:
            kwargs["verbose"] = False  # the toolkit prints its own table
        return kwargs

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command. Remove a new run directory if an error occurs before the first optimizer step."""
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
        """Load the weights of another run if ``--init_from`` is set, and print a description of the fit."""
        if self.plan.init_from:
            self.model.start_from(self.plan.init_from, normalizer=self.plan.normalizer)
        console.say_start(self.trainer, self.model, self.datamodule, self.plan, self.notes)

    def after_fit(self) -> None:
        """Evaluate the weights of the best checkpoint on held-out data and write the report."""
        if self._get(self.config_init, "trainer")["fast_dev_run"]:
            return
        averaged = swapped_in(self.trainer)
        # From here on, the evaluated weights are those in a checkpoint's state_dict, or those of the module.
        self.trainer.callbacks = without_averaging(self.trainer.callbacks)  # type: ignore[attr-defined]
        if averaged and self.best is not None:
            self._compare_average(self.best)
        best = self.best.best_model_path if self.best is not None else ""
        if self.best is None:
            console.say(
                "trainer.enable_checkpointing is false: no checkpoint is saved, and the weights of the last "
                "step are tested"
            )
        if self.datamodule is not None and _has_test_data(self.datamodule):
            self.trainer.test(
                self.model,
                datamodule=self.datamodule,
                ckpt_path=best or None,
                verbose=False,
                weights_only=True,
            )
        self._write_results(best)

    def _compare_average(self, best: BestCheckpoint) -> None:
        """Save the average of `StochasticWeightAveraging` as the best checkpoint if it has the lowest loss.

        The validation loss of the average is compared with that of the best checkpoint. If the
        run has no validation loss, the average is saved without a comparison.
        """
        score = best.best_model_score
        if score is None:
            best.take_over(self.trainer, float("inf"))
            console.say("averaged weights (StochasticWeightAveraging): saved as best.ckpt without validation")
            return
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        value = float(self.trainer.callback_metrics["val_loss"])
        text = f"averaged weights (StochasticWeightAveraging): val_loss {value:.4g}, best.ckpt {score:.4g}"
        if value < score:
            best.take_over(self.trainer, value)
            console.say(f"{text}; saved as best.ckpt")
        else:
            console.say(f"{text}; best.ckpt is kept")

    def _write_results(self, checkpoint: object) -> None:
        """Write summary.json and the report, and print the table."""
        if self.trainer.is_global_zero:
            seconds = time.monotonic() - self.started
            write_results(
                self.trainer, self.model, self.datamodule, self.collector, self.plan, checkpoint, seconds
            )

    def after_test(self) -> None:
        """Write the report of an evaluation."""
        self._write_results(self.plan.checkpoint)

    def predict(self, **kwargs: Any) -> None:
        """Run the prediction without keeping predictions in memory."""
        self.trainer.predict(**{**kwargs, "return_predictions": False})

    def after_predict(self) -> None:
        """Print the path of the predictions."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, PredictionWriter):
                console.say(f"{callback.count:,} predictions written to {callback.path}")


def _has_test_data(datamodule: LightningDataModule) -> bool:
    """Return whether the data module provides test data."""
    datamodule.setup("test")
    loader = datamodule.test_dataloader()
    return loader is not None and len(loader) > 0
