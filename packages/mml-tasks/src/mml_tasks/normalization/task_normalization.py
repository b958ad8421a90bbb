"""Fill the normalizers of a task from its arguments, from the data, or from a checkpoint."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from mml_tasks.normalization.normalizer import Normalizer, Normalizers
from mml_tasks.normalization.stored_statistics import (
    NormalizeOptions,
    Scale,
    scale_from_statistics,
    scales_from_kwargs,
)
from mml_tasks.normalization.training_pass import statistics_of_batches
from mml_tasks.protocols import HasTargetStatistics
from mml_tasks.steps import TaskSteps

logger = logging.getLogger(__name__)

CHECKPOINT_KEY = "normalization"
"""Key of a checkpoint: the statistics of the normalizers and their sources, in plain types."""


class TaskNormalization(TaskSteps):
    """Create the normalizers of a task's targets, fill them once, and save them in checkpoints.

    Statistics in ``normalize_kwargs`` are set immediately. Statistics of the data are set when training
    starts, unless a checkpoint contains them. They come from ``target_statistics()`` of the data module, or
    else from one pass over the training data.
    """

    normalize_kwargs: dict[str, Any] | Literal["auto"] | None

    def __init__(self) -> None:
        super().__init__()
        self.normalizers = Normalizers()
        self._given: dict[str, Scale] = {}
        self._passed: dict[str, dict[str, Any]] | None = None
        self._stored: Mapping[str, Mapping[str, Any]] | None = None
        self._resumes = False

    # ---------------------------------------------------------------- hooks for subclasses

    def normalized_keys(self, task_keys: Sequence[str]) -> list[str]:
        """Return the outputs that have a normalizer."""
        return list(task_keys)

    def scales(self, given: dict[str, Scale]) -> dict[str, Scale]:
        """Return the statistics of the normalizers, given those of ``normalize_kwargs``."""
        return given

    def auto_scales(self, statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, Scale]:
        """Return the statistics of the normalizers, given the statistics of the training split."""
        return {key: self.scale_of(key, statistics[key]) for key in self.normalizers if key in statistics}

    def scale_of(self, key: str, statistics: Mapping[str, Any]) -> Scale:
        """Return the scale of a target from its statistics, per atom or with references if required."""
        return scale_from_statistics(
            key, statistics, per_atom=key in self.extensive_keys, references=key in self._reference_keys()
        )

    # ---------------------------------------------------------------- filling

    def setup(self, stage: str) -> None:
        """Discard the statistics of the data and of the checkpoint that an earlier run of this task used."""
        self._passed = None
        if self._resumes:
            self._stored, self._resumes = None, False

    def make_normalizers(self, task_keys: Sequence[str]) -> None:
        """Create the normalizers of the targets, and set the statistics of ``normalize_kwargs``.

        Raises
        ------
        ValueError
            If ``normalize_kwargs`` contains an unknown name or an invalid value.
        """
        names = self.normalized_keys(task_keys)
        self.normalizers = Normalizers({key: Normalizer() for key in names})
        given = scales_from_kwargs(self._options.numbers, names, self.extensive_keys)
        self._given = self.scales(given) if given else {}
        if given and not self._needs_data():
            self.normalizers.set_scales(self._given)

    @property
    def _options(self) -> NormalizeOptions:
        return NormalizeOptions.of(self.normalize_kwargs)

    def _reference_keys(self) -> list[str]:
        return [key for key, scale in self._given.items() if scale.references == "auto"]

    def _needs_data(self) -> bool:
        return self._options.auto or bool(self._reference_keys())

    def _fill_normalizers(self) -> None:
        if self._needs_data() and self.normalizers.unset():
            self._set(self._scales_of_data())

    def _set(self, scales: Mapping[str, Scale]) -> None:
        self.normalizers.set_scales(scales)
        if self.trainer.is_global_zero:
            for key, scale in scales.items():
                logger.info("normalisation of %r from %s: %s", key, scale.source, self.normalizers.of(key))

    def _scales_of_data(self) -> dict[str, Scale]:
        """Return the scales of the data, updated with those of ``normalize_kwargs``."""
        statistics = self._statistics_for_scales()
        scales = self.auto_scales(statistics) if self._options.auto else {}
        for key in self._reference_keys():
            found = self.scale_of(key, statistics[key])
            scales[key] = replace(scales.get(key, replace(found, std=None)), mean=None, per_atom=False)
            scales[key] = replace(scales[key], references=found.references)
        for key, given in self._given.items():
            if given.references == "auto":
                given = replace(given, references=None)
            scales[key] = scales[key].updated(given) if key in scales else given
        return self.scales(scales)

    def _statistics_for_scales(self) -> Mapping[str, Mapping[str, Any]]:
        statistics = self._statistics()
        references = self._reference_keys()
        if statistics is not None and all("reference_energies" in statistics.get(k, {}) for k in references):
            return statistics
        if self._passed is None:
            loader = self._training_loader()
            self._passed = statistics_of_batches(loader, self._options.max_samples, references)
            for key in references:
                if "reference_energies" not in self._passed.get(key, {}):
                    raise ValueError(
                        f"{key}_reference='auto' finds no {key} of whole structures in the training data, "
                        f"whose targets are {sorted(self._passed)}: give the reference energies as a dict"
                    )
        # Stored statistics cover the whole data set and take precedence over those of the pass.
        return self._passed | {k: v for k, v in (statistics or {}).items() if k not in references}

    def _training_loader(self) -> Iterable[Mapping[str, Any]]:
        """Return the loader of the training data, before the trainer has created its own."""
        if self.trainer.state.fn != "fit":
            raise ValueError(
                'normalize_kwargs="auto" needs a data module with target_statistics(), and the trainer has '
                f"none: give numbers in normalize_kwargs for {self.normalizers.unset()}, or load a checkpoint"
            )
        loaders = self.trainer.fit_loop._data_source.dataloader()
        loader = self._own_loader(getattr(loaders, "iterables", loaders))  # if it is a CombinedLoader
        if isinstance(loader, (Mapping, list, tuple)):
            raise ValueError(
                'normalize_kwargs="auto" looks at one training loader, and there are several: give the '
                f"numbers in normalize_kwargs for {self.normalizers.unset()}"
            )
        return cast("Iterable[Mapping[str, Any]]", loader)

    def _own_loader(self, loaders: Any) -> Any:
        """Return the loader of this task's data from the loaders of the trainer."""
        return loaders

    def _statistics(self) -> Mapping[str, Mapping[str, Any]] | None:
        datamodule = getattr(self.trainer, "datamodule", None)
        return datamodule.target_statistics() if isinstance(datamodule, HasTargetStatistics) else None

    def on_validation_start(self) -> None:
        """Fill normalizers that have no statistics yet."""
        self._fill_normalizers()

    def on_test_start(self) -> None:
        """Fill normalizers that have no statistics yet."""
        self._fill_normalizers()

    def on_predict_start(self) -> None:
        """Fill normalizers that have no statistics yet."""
        self._fill_normalizers()

    # ---------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the statistics of the normalizers and their sources, in plain types."""
        checkpoint[CHECKPOINT_KEY] = {key: self.normalizers.of(key).numbers() for key in self.normalizers}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load the statistics of a checkpoint, and compare them with ``normalize_kwargs``.

        With ``override``, the statistics of ``normalize_kwargs`` replace those of the checkpoint.

        Raises
        ------
        ValueError
            If ``normalize_kwargs`` differs from the statistics of the checkpoint, unless ``override`` is set.
        """
        stored = checkpoint.get(CHECKPOINT_KEY)
        if stored is None:
            return
        self._stored, self._resumes = stored, self._trainer is not None
        if not self._needs_data():
            now = {
                k: self.normalizers.of(k).numbers()
                for k in self.normalizers
                if k not in self.normalizers.unset()
            }
            changes = changed_numbers(stored, now)
            if changes and self._options.override:
                for key in now:
                    for name, value in self.normalizers.of(key).state_dict().items():
                        checkpoint["state_dict"][f"normalizers.{key}.{name}"] = value.clone()
                logger.warning("normalize_kwargs overrides the checkpoint: %s", "; ".join(changes))
                return
            if changes:
                raise ValueError(_refusal(changes, "normalize_kwargs gives"))
        for key in self.normalizers:
            if key in stored:
                normalizer = self.normalizers.of(key)
                normalizer.source, normalizer.count = stored[key]["source"], stored[key]["count"]

    def continues_as_new_run(self) -> None:
        """Treat a loaded checkpoint as the start of a new run, which may use other data."""
        self._resumes = False

    def on_train_start(self) -> None:
        """Compare the statistics of the checkpoint with those of the current data.

        Raises
        ------
        ValueError
            If a resumed run uses data with other statistics, unless ``override`` is set.
        """
        # Not in on_load_checkpoint: the data module loads its own part of the checkpoint, such as the seed
        # of its splits, only afterwards.
        if self._stored is None or not self._needs_data():
            return
        asked = self._resumes or self._options.override
        if not asked and self._statistics() is None:
            return  # a pass over the data costs too much for a log line
        scales = self._scales_of_data()
        fresh = Normalizers({key: Normalizer() for key in scales})
        fresh.set_scales(scales)
        changes = changed_numbers(self._stored, {key: fresh.of(key).numbers() for key in fresh})
        self._stored = None
        if not changes:
            return
        if self._options.override:
            logger.warning("the training data override the checkpoint: %s", "; ".join(changes))
            self._set(scales)
        elif self._resumes:
            raise ValueError(_refusal(changes, "the training data say"))
        else:
            logger.warning(
                "the normalisers keep the numbers of the checkpoint, with which the weights were trained; "
                "the training data say: %s",
                "; ".join(changes),
            )


def changed_numbers(
    stored: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return a description of each statistic that differs from the checkpoint; see `Normalizer.numbers`."""
    changes = []
    for key in now:
        for name in ("mean", "std", "per_atom", "references"):
            before, after = stored.get(key, {}).get(name), now[key][name]
            if key in stored and not _close(before, after):
                changes.append(f"{key} {name} is {before} in the checkpoint and {after} now")
    return changes


def _refusal(changes: Sequence[str], who: str) -> str:
    return (
        f"{who} other numbers of the normalisers than the checkpoint, with which its weights were trained: "
        f"{'; '.join(changes)}. Take the checkpoint's (leave them out of normalize_kwargs, or use the data "
        'of that run), or say "override": true in normalize_kwargs'
    )


def _close(a: Any, b: Any) -> bool:
    """Return whether two plain values are equal up to the rounding of single precision."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-12)
    return bool(a == b)
