"""Select the run directory, the checkpoint and the config before Lightning's parser runs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from matsciml.runs.run_directory import checkpoint_of, find_checkpoint, new_run, runs_named


@dataclass(frozen=True)
class RunPlan:
    """The run directory, the checkpoint and the options of a command.

    Attributes
    ----------
    command
        ``fit``, ``validate``, ``test`` or ``predict``.
    arguments
        Arguments after the command. A ``--config`` option is added if the command line does not contain one.
    given
        Keys that are set on the command line, such as ``trainer.max_epochs``.
    run
        Directory of the run. It is created only when the work starts, so that an error leaves no directory
        behind.
    checkpoint
        Checkpoint to load, or None.
    init_from
        Checkpoint from whose weights a new fit starts, or None.
    normalizer
        ``keep`` or ``refit`` with `init_from`, and None otherwise.
    schedule
        ``--schedule`` for the learning-rate schedule of a continued run, or None.
    untrained
        Whether to evaluate random weights.
    config
        Paths of the configs, joined by commas, or the text ``the default config``.
    name
        Name of the run from ``--name`` or a config, or None.
    continued
        Whether the run directory is that of an interrupted run.
    """

    command: str
    arguments: list[str]
    given: frozenset[str]
    run: Path
    checkpoint: Path | None
    init_from: Path | None
    normalizer: str | None
    schedule: str | None
    untrained: bool
    config: str
    name: str | None
    continued: bool


def plan_run(command: str, arguments: list[str], default_config: Path) -> RunPlan:
    """Read the options that must be known before Lightning's parser runs.

    ``test``, ``validate`` and ``predict`` use the best checkpoint of the newest run with the given name,
    unless another checkpoint or an untrained model is requested.

    Parameters
    ----------
    command
        ``fit``, ``validate``, ``test`` or ``predict``.
    arguments
        Arguments after the command.
    default_config
        Config to use if neither the command line nor the run of a checkpoint provides one.

    Raises
    ------
    FileNotFoundError
        If the checkpoint does not exist.
    ValueError
        If a config is not valid YAML, the name is not a directory name, or options contradict each other.
    """
    given = frozenset(option_keys(arguments))
    known = _own_options(arguments)
    known.help = any(key in ("h", "help", "print_config") or key.endswith(".help") for key in given)
    _check_options(command, known, given)
    runs = Path(known.runs_dir)
    if command != "fit" and not (known.ckpt_path or known.untrained or known.help):
        known.ckpt_path, known.by_default = "best", True
    checkpoint, init_from = _find(runs, known), _find_init(runs, known)
    source = checkpoint or init_from
    config = _config_of(source) if source else None
    if known.untrained and (named := runs_named(runs, known.name or "fit")):
        config = next((c for run in reversed(named) if (c := run / "config.yaml").is_file()), None)
    by_name = known.ckpt_path in ("last", "best")
    continued = by_name and command == "fit"
    if checkpoint and continued:
        run = checkpoint.parent.parent
    elif command == "fit":
        run = new_run(runs, known.name or command)
    elif checkpoint and by_name:
        run = new_run(runs, f"{checkpoint.parent.parent.name}-{command}")
    else:
        run = new_run(runs, f"{known.name}-{command}" if known.name else command)
    chosen = known.config
    if not (known.config or "help" in given or "h" in given):
        chosen = [str(config or default_config)]
        arguments = ["--config", chosen[0], *arguments]
    return RunPlan(
        command,
        arguments,
        given,
        run,
        checkpoint,
        init_from,
        known.normalizer if init_from else None,
        known.schedule if checkpoint else None,
        known.untrained,
        "the default config" if chosen == [str(default_config)] else ", ".join(chosen),
        known.name,
        continued,
    )


def option_keys(arguments: list[str]) -> list[str]:
    """Return the names of the options on a command line.

    Parameters
    ----------
    arguments
        Arguments after the command.
    """
    return [a.lstrip("-").partition("=")[0].rstrip("+") for a in arguments if a.startswith("-")]


def _own_options(arguments: list[str]) -> argparse.Namespace:
    """Read the options that determine the run directory, before Lightning's parser runs."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="append", default=[])
    for option in ("ckpt_path", "init_from", "normalizer", "schedule", "name", "runs_dir"):
        parser.add_argument(f"--{option}")
    parser.add_argument("--untrained", action="store_true")
    known, _ = parser.parse_known_args(arguments)
    known.cli_ckpt_path, known.by_default = known.ckpt_path, False
    written = _read(known.config)
    if known.init_from is None:
        known.ckpt_path = known.ckpt_path or written.get("ckpt_path")
        if not known.cli_ckpt_path:
            known.schedule = known.schedule or written.get("schedule")
    if known.ckpt_path is None:
        known.init_from = known.init_from or written.get("init_from")
        known.normalizer = known.normalizer or written.get("normalizer")
    known.untrained = known.untrained or bool(written.get("untrained"))
    known.name = known.name or written.get("name")
    known.runs_dir = known.runs_dir or written.get("runs_dir") or "runs"
    return known


def _read(configs: list[str]) -> dict[str, Any]:
    """Return the merged top-level keys of configs. Later configs win, as in Lightning's parser."""
    found: dict[str, Any] = {}
    for path in map(Path, configs):
        try:
            written = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        except yaml.YAMLError as error:
            raise ValueError(f"--config {path} is not valid YAML: {error}") from error
        if isinstance(written, dict):
            found |= {key: value for key, value in written.items() if value is not None}
    return found


def _check_options(command: str, known: argparse.Namespace, given: frozenset[str]) -> None:
    """Reject options that would be ignored or that contradict each other."""
    if command == "fit":
        if "untrained" in given:
            raise ValueError("--untrained has no effect on fit; pass it to test, validate or predict")
        if known.ckpt_path and "init_from" in given:
            raise ValueError(
                "--ckpt_path and --init_from exclude each other; pass --ckpt_path to continue a run, or "
                "--init_from to start a new run from trained weights"
            )
        if "schedule" in given and not known.ckpt_path:
            raise ValueError(
                "--schedule requires --ckpt_path, because it changes the learning-rate schedule of a "
                "continued run; add --ckpt_path last, best or FILE"
            )
        if known.init_from and known.normalizer not in ("keep", "refit"):
            found = f", got {known.normalizer!r}" if known.normalizer else ""
            raise ValueError(
                f"--init_from requires --normalizer keep or refit{found}. keep uses the mean and spread with "
                "which the weights of the checkpoint were trained. refit computes them from the new training "
                "data"
            )
        if "normalizer" in given and not known.init_from:
            raise ValueError("--normalizer requires --init_from; add --init_from best, last or FILE")
        return
    for option in ("schedule", "init_from", "normalizer", "optimizer", "lr_scheduler"):
        if any(key == option or key.startswith(f"{option}.") for key in given):
            raise ValueError(f"--{option} has no effect on {command}, which does not train; remove it")
    if "return_predictions" in given:
        raise ValueError(
            "--return_predictions has no effect, because predictions are written to a file; remove it"
        )
    if known.untrained and known.cli_ckpt_path:
        raise ValueError("--untrained and --ckpt_path exclude each other; pass one of them")
    if known.ckpt_path and not known.cli_ckpt_path and not known.help:
        raise ValueError(
            f"the config sets ckpt_path: {known.ckpt_path}, which may be the checkpoint that its fit started "
            f"from; pass the checkpoint to {command} as --ckpt_path best, last or FILE"
        )


def _find(runs: Path, known: argparse.Namespace) -> Path | None:
    """Return the checkpoint that the options select."""
    if known.ckpt_path in ("last", "best"):
        if known.by_default:
            return _best_of(runs, known)
        return find_checkpoint(runs, known.name or "fit", known.ckpt_path)
    return _file("--ckpt_path", known.ckpt_path)


def _best_of(runs: Path, known: argparse.Namespace) -> Path:
    """Return the best checkpoint for a command without ``--ckpt_path``."""
    name = known.name or "fit"
    try:
        return find_checkpoint(runs, name, known.ckpt_path)
    except FileNotFoundError:
        newest = [run for run in runs_named(runs, name) if checkpoint_of(run, "last").is_file()]
        hint = f"; to use last.ckpt of {newest[-1]}, pass --ckpt_path last" if newest else ""
        raise FileNotFoundError(
            f"no run named {name!r} in {runs} has a {known.ckpt_path}.ckpt{hint}. Train a model with "
            "`matsciml fit`, pass --name or --ckpt_path FILE, or evaluate random weights with --untrained"
        ) from None


def _find_init(runs: Path, known: argparse.Namespace) -> Path | None:
    """Return the checkpoint from whose weights a new run starts."""
    if known.init_from in ("last", "best"):
        return find_checkpoint(runs, known.name or "fit", known.init_from, "--init_from")
    return _file("--init_from", known.init_from)


def _file(option: str, path: str | None) -> Path | None:
    if path and not Path(path).is_file():
        raise FileNotFoundError(
            f"{option} {path} does not exist; pass the path of a checkpoint, last or best"
        )
    return Path(path) if path else None


def _config_of(checkpoint: Path) -> Path | None:
    """Return the config of the run that a checkpoint belongs to, or None if the file does not exist."""
    config = checkpoint.parent.parent / "config.yaml"
    return config if config.is_file() else None
