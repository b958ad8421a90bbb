"""What is decided before Lightning's parser runs: which run directory, which checkpoint, which config."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import yaml

from matsciml.run_directory import find_checkpoint, new_run


@dataclass(frozen=True)
class RunPlan:
    """Where a command works.

    Attributes
    ----------
    command
        ``fit``, ``validate``, ``test`` or ``predict``.
    arguments
        The rest of the command line, completed for Lightning's parser.
    run
        The run's directory; it is made when the work starts, so that a mistake leaves nothing behind.
    checkpoint
        The checkpoint that is going to be loaded.
    name
        What ``--name`` or a config calls the run.
    continued
        The run directory is that of an interrupted run.
    """

    command: str
    arguments: list[str]
    run: Path
    checkpoint: Path | None
    name: str | None
    continued: bool


def plan_run(command: str, arguments: list[str], default_config: Path) -> RunPlan:
    """Read the few options that must be known early.

    Parameters
    ----------
    command
        ``fit``, ``validate``, ``test`` or ``predict``.
    arguments
        What follows it on the command line.
    default_config
        The config where none is given; a checkpoint brings that of its run.

    Raises
    ------
    FileNotFoundError
        The checkpoint is not there.
    ValueError
        A config is no YAML, or the name no directory name.
    """
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
    if not (known.config or known.help):
        arguments = ["--config", str(config or default_config), *arguments]
    if by_name:
        arguments = [*arguments, "--ckpt_path", str(checkpoint)]
    return RunPlan(command, arguments, run, checkpoint, known.name, continued)


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
