"""`matsciml fit | validate | test | predict`: Lightning's command line, with a run directory and a report."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import time
import warnings
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

import matsciml  # noqa: F401  registers accelerators and strategies
from matsciml import console
from matsciml.config_errors import raise_readable
from matsciml.interruption import GracefulInterruption, TrainingInterrupted
from matsciml.predictions import PredictionCollector, PredictionWriter
from matsciml.run_directory import (
    RUN_VARIABLE,
    RunLogger,
    checkpoint_of,
    find_checkpoint,
    new_run,
    trim_metrics,
)
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
        _quieten()
    known = _own_options(arguments)
    runs, checkpoint = Path(known.runs_dir), _find(known)
    config = _config_of(checkpoint) if checkpoint else None
    by_name = known.ckpt_path in ("last", "best")
    continued = by_name and command == "fit"
    if checkpoint and continued:
        run = checkpoint.parent.parent
    elif checkpoint and by_name:
        run = new_run(runs, f"{checkpoint.parent.parent.name}-{command}")
    else:
        run = new_run(runs, known.name or command)
    with as_file(files("matsciml") / "configs" / "emt.yaml") as default:
        if not (known.config or known.help):
            arguments = ["--config", str(config or default), *arguments]
        if by_name:
            arguments = [*arguments, "--ckpt_path", str(checkpoint)]
        try:
            MatSciMLCLI(command, arguments, run, checkpoint, continued)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            text = f"checkpoint {checkpoint} is of another model than the config describes: {error}"
            raise ValueError(text) from error
        except TrainingInterrupted as stop:
            option = f" --name {known.name}" if known.name else ""
            console.say(f"{stop}\ncontinue with: matsciml fit{option} --ckpt_path last")
            return 128 + stop.signum
        finally:
            os.environ.pop(RUN_VARIABLE, None)
    return 0


def _own_options(arguments: list[str]) -> argparse.Namespace:
    """Read the options that decide on the run directory, before Lightning's parser runs."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="append", default=[])
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--ckpt_path")
    parser.add_argument("--name")
    parser.add_argument("--runs_dir")
    known, _ = parser.parse_known_args(arguments)
    for path in map(Path, known.config):
        try:
            written = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        except yaml.YAMLError as error:
            raise ValueError(f"--config {path} is not valid YAML: {error}") from error
        if isinstance(written, dict):
            known.name = known.name or written.get("name")
            known.runs_dir = known.runs_dir or written.get("runs_dir")
    known.runs_dir = known.runs_dir or "runs"
    return known


def _find(known: argparse.Namespace) -> Path | None:
    """Return the checkpoint that the options name."""
    if known.ckpt_path in ("last", "best"):
        return find_checkpoint(Path(known.runs_dir), known.name or "fit", known.ckpt_path)
    if known.ckpt_path and not Path(known.ckpt_path).is_file():
        raise FileNotFoundError(
            f"--ckpt_path {known.ckpt_path}: no such file; give a checkpoint, 'last' or 'best'"
        )
    return Path(known.ckpt_path) if known.ckpt_path else None


def _config_of(checkpoint: Path) -> Path | None:
    """Return the config of the run that a checkpoint belongs to, where it is there."""
    config = checkpoint.parent.parent / "config.yaml"
    return config if config.is_file() else None


def _quieten() -> None:
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
    command
        ``fit``, ``validate``, ``test`` or ``predict``.
    arguments
        The rest of the command line.
    run
        The run's directory; it is made when the work starts, so that a mistake leaves nothing behind.
    checkpoint
        The checkpoint that is going to be loaded.
    continued
        The run directory is that of an interrupted run.
    """

    def __init__(
        self, command: str, arguments: list[str], run: Path, checkpoint: Path | None, continued: bool
    ) -> None:
        self.run_directory, self.checkpoint, self.continued = run, checkpoint, continued
        self.collector = PredictionCollector()
        self.started = time.monotonic()
        with raise_readable(command):
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=_SaveConfig,
                save_config_kwargs={"overwrite": True},
                seed_everything_default=0,
                parser_kwargs={"prog": "matsciml", **_STRICT, command: _STRICT},
                args=[command, *arguments],
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
        if not quick:
            loggers = config.get("logger")
            others = loggers if isinstance(loggers, list) else [loggers]
            config["logger"] = [
                RunLogger(self.run_directory),
                *(x for x in others if not isinstance(x, bool | None)),
            ]
            config["default_root_dir"] = str(self.run_directory)
        if self.subcommand == "fit" and not quick:
            given = config.get("callbacks") or []
            given = given if isinstance(given, list) else [given]
            if not any(isinstance(callback, ModelCheckpoint) for callback in given):
                folder = checkpoint_of(self.run_directory, "best").parent
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
            own.append(GracefulInterruption(checkpoint_of(self.run_directory, "last")))
        if self.subcommand == "predict":
            own.append(PredictionWriter(self.run_directory / "predictions.jsonl"))
        return self._instantiate_trainer(config, own)

    def after_instantiate_classes(self) -> None:
        """Check the checkpoint against the model before anything is written."""
        if self.checkpoint:
            step = check_checkpoint(self.checkpoint, self.model)
            if self.continued:
                rank_zero_only(trim_metrics)(self.run_directory, step)
        os.environ[RUN_VARIABLE] = str(self.run_directory)

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
        made = [p for p in (self.run_directory, self.run_directory.parent) if not p.exists()]
        try:
            super()._run_subcommand(subcommand)
        except BaseException:
            if made and self.trainer.is_global_zero and self.trainer.global_step == 0:
                shutil.rmtree(made[-1], ignore_errors=True)
            raise

    def before_fit(self) -> None:
        """Say what is going to happen."""
        console.say_start(self)

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
        write_results(self)

    def validate(self, **kwargs: Any) -> None:
        """Evaluate on the validation split and print what Lightning prints."""
        self.trainer.validate(**kwargs)

    def after_test(self) -> None:
        """Write the report of an evaluation."""
        write_results(self)

    def predict(self, **kwargs: Any) -> None:
        """Predict, keeping nothing in memory."""
        self.trainer.predict(**{**kwargs, "return_predictions": False})

    def after_predict(self) -> None:
        """Say where the predictions are."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, PredictionWriter):
                console.say(f"{callback.count} predictions in {callback.path}")


class _SaveConfig(SaveConfigCallback):
    """Writes config.yaml when the work starts, not while it is set up: a refused run leaves nothing."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait: targets and data are still being checked."""

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write before the first batch."""
        self._save(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write before the first batch."""
        self._save(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write before the first batch."""
        self._save(trainer, pl_module)

    on_validation_start = on_test_start
    on_predict_start = on_test_start

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "")


def _has_test_data(datamodule: LightningDataModule) -> bool:
    """Say whether the data module gives test data."""
    datamodule.setup("test")
    loader = datamodule.test_dataloader()
    return loader is not None and len(loader) > 0


def check_checkpoint(path: Path, model: LightningModule) -> int:
    """Raise if a checkpoint does not hold this model's state.

    Parameters
    ----------
    path
        A Lightning checkpoint.
    model
        The module that the config describes.

    Returns
    -------
    int
        The optimizer steps that were done when it was saved.

    Raises
    ------
    ValueError
        The file is no checkpoint, or one of another model.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        saved, step = checkpoint["state_dict"], int(checkpoint["global_step"])
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint that can be read ({error}): give one that a fit has written"
        ) from error
    own = model.state_dict()
    built = {
        key.split(".")[0] for key in own
    }  # parts that wait for the data, such as heads, are not there yet
    wrong = [
        *(f"it lacks {key}" for key in own if key not in saved),
        *(
            f"it has {key}, which the model has not"
            for key in saved
            if key not in own and key.split(".")[0] in built
        ),
        *(
            f"{key} has shape {tuple(saved[key].shape)} there and {tuple(own[key].shape)} in the model"
            for key in own
            if key in saved and saved[key].shape != own[key].shape
        ),
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more differences)" if len(wrong) > 1 else ""
        raise ValueError(
            f"checkpoint {path} is of another model than {type(model).__name__} as configured: {wrong[0]}"
            f"{more};"
            " pass the --config that it was trained with"
        )
    return step
