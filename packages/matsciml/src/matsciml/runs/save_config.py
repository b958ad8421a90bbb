"""The config.yaml of a run, which documents the run and can be used to repeat it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, SaveConfigCallback

from matsciml.runs.run_directory import trim_metrics

START = ("ckpt_path", "schedule", "init_from", "normalizer")
"""Keys that describe how a run started. A run that continues in its directory keeps their values."""


class SaveConfigAtStart(SaveConfigCallback):
    """Callback that writes config.yaml when the work starts.

    It does not write during setup, so that a run that is rejected there leaves no file.

    Parameters
    ----------
    parser, config, **kwargs
        Arguments of Lightning's `SaveConfigCallback`.
    directory
        Directory of the run.
    notes
        Information that is not part of the config, written as comments at the top of the file.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        *,
        directory: Path,
        notes: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(parser, config, **kwargs)
        self.path = directory / self.config_filename
        self.notes = list(notes)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Do nothing, because targets and data have not been checked yet."""

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file before the first batch."""
        self._save(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file before the first batch."""
        self._save(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file before the first batch."""
        self._save(trainer, pl_module)

    on_validation_start = on_test_start
    on_predict_start = on_test_start

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "")

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Insert the notes at the top of the config file, which has just been written."""
        if self.notes:
            notes = "".join(f"# {note}\n" for note in self.notes)
            _write(self.path, notes + self.path.read_text(encoding="utf-8"))


class SaveConfigOfContinued(SaveConfigAtStart):
    """Callback that updates the metrics.csv and the config.yaml of a continued run.

    It adds a note with the changed options and the date to config.yaml. It waits for the first batch, because
    a run that is rejected earlier, for example because of another learning-rate schedule, must not change its
    files. It must precede callbacks that log when a batch starts.
    """

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do nothing until the first batch."""

    on_train_start = on_sanity_check_start
    on_validation_start = on_sanity_check_start
    on_test_start = on_sanity_check_start

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Update the files before the first batch."""
        if self.already_saved:
            return
        before = _read(self.path)
        effective = self.config
        self.config = effective.clone()
        for key in START:
            if key in before:
                self.config[key] = before[key]
        if trainer.is_global_zero:
            trim_metrics(self.path.parent, trainer.global_step)
            self.notes = list(dict.fromkeys([*_notes(self.path), *self.notes]))
            now = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
            changes = [f"{key}: {old} -> {new}" for key, old, new in changed(before, now)]
            with_schedule = f", --schedule {effective['schedule']}" if effective.get("schedule") else ""
            today = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
            self.notes.append(
                f"{today}: continued from {Path(effective['ckpt_path']).name} at step {trainer.global_step}"
                f"{with_schedule}{'; ' + '; '.join(changes) if changes else ''}"
            )
        self._save(trainer, pl_module)


def changed(
    before: Mapping[str, object], now: Mapping[str, object], place: str = ""
) -> Iterator[tuple[str, object, object]]:
    """Yield the key, the old value and the new value of each difference between two configs.

    Parameters
    ----------
    before, now
        Nested mappings.
    place
        Prefix of the keys.
    """
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changed(old, new, f"{place}{key}.")
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            yield from changed(_numbered(old), _numbered(new), f"{place}{key}.")
        elif isinstance(old, list) and isinstance(new, list):
            gone, come = [x for x in old if x not in new], [x for x in new if x not in old]
            yield f"{place}{key}", [_short(x) for x in gone], [_short(x) for x in come]
        elif old != new:
            yield f"{place}{key}", old, new


def _numbered(items: Sequence[object]) -> dict[str, object]:
    return {str(index): item for index, item in enumerate(items)}


def _short(item: object) -> object:
    return item.get("class_path", item) if isinstance(item, Mapping) else item


def _notes(path: Path) -> list[str]:
    """Return the notes of earlier continuations."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        line[2:] for line in lines if line.startswith("# ") and not line.startswith("# pytorch_lightning")
    ]


def _read(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found if isinstance(found, dict) else {}


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
