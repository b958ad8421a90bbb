"""Normalization of a task's targets: their statistics, and where these statistics come from."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mml_samples import Batch, atom_counts, graph_of
from torch import Tensor

from mml_tasks.batches import samples_of
from mml_tasks.normalization.normalizer import Normalizer, Normalizers
from mml_tasks.normalization.scale_rules import ScaleRules
from mml_tasks.normalization.stored_statistics import (
    NormalizeOptions,
    Scale,
    scales_from_kwargs,
)
from mml_tasks.normalization.training_data import TrainingData
from mml_tasks.normalization.training_pass import statistics_of_batches
from mml_tasks.protocols import Checkpoint, Statistics

logger = logging.getLogger(__name__)

CHECKPOINT_KEY = "normalization"
"""Key of a checkpoint: the statistics of the normalizers and their sources, in plain types."""


class TargetNormalization:
    """Normalizers of a task's targets, their statistics, and the sources of these statistics.

    A task calls these methods in this order:

    1. `build` creates the normalizers and sets the statistics of ``normalize_kwargs``.
    2. `load` compares these statistics with those of a checkpoint, if there is one.
    3. `fill` sets the remaining statistics from the data, unless a checkpoint contained them. They come from
       ``target_statistics()`` of the data module, or else from one pass over the training data.
    4. `check_data` compares the statistics of a checkpoint with those of the current data.
    5. `norm` and `denorm` convert targets and outputs at each step.
    6. `save` returns the statistics and their sources for a checkpoint.

    Parameters
    ----------
    normalize_kwargs
        See `BaseTaskModule`.

    Attributes
    ----------
    normalizers
        The normalizers by output. The task registers this module as its own, so that it is moved to the
        device of the task and saved in its state dict.

    Raises
    ------
    ValueError
        If ``normalize_kwargs`` has an invalid option.
    """

    def __init__(self, normalize_kwargs: object = None) -> None:
        self.options = NormalizeOptions.of(normalize_kwargs)
        self.normalizers = Normalizers()
        self._rules = ScaleRules()
        self._given: dict[str, Scale] = {}
        self._passed: dict[str, Statistics] | None = None
        self._stored: Mapping[str, Statistics] | None = None
        self._resumes = False

    def build(self, rules: ScaleRules) -> None:
        """Create the normalizers, and set the statistics of ``normalize_kwargs``.

        Raises
        ------
        ValueError
            If ``normalize_kwargs`` contains an unknown name or an invalid value.
        """
        self._rules = rules
        self.normalizers.clear()
        self.normalizers.update({key: Normalizer() for key in rules.keys})
        given = scales_from_kwargs(self.options.numbers, rules.keys, rules.extensive_keys)
        self._given = rules.complete(given) if given else {}
        if given and not self.needs_data:
            self.normalizers.set_scales(self._given)

    # ---------------------------------------------------------------- conversion

    def norm(self, targets: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return targets of a batch in normalized units; targets without a normalizer are unchanged."""
        graph = graph_of(batch)
        counts, elements = atom_counts(graph), graph.atomic_numbers
        return {key: self.normalizers.norm(key, value, counts, elements) for key, value in targets.items()}

    def denorm(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return outputs for a batch in physical units and in float64; the inverse of `norm`."""
        graph = graph_of(batch)
        counts, elements = atom_counts(graph), graph.atomic_numbers
        return {key: self.normalizers.denorm(key, value, counts, elements) for key, value in outputs.items()}

    def check_elements(self, batch: Batch, labels: Tensor | None = None) -> None:
        """Raise an error if a batch has atoms of an element without a reference energy.

        Parameters
        ----------
        batch
            The batch, on the host or the device. Reading from the device waits for it.
        labels
            Target of structures, [B, ...]. Only structures with a label are checked. Default: all structures.

        Raises
        ------
        ValueError
            If a target lacks the reference energy of an element. The message names the elements.
        """
        graph = graph_of(batch)
        elements = graph.atomic_numbers
        if labels is not None:
            labeled = ~labels.isnan().reshape(-1)
            elements = elements[labeled.repeat_interleave(atom_counts(graph).cpu())]
        self.normalizers.check_elements(elements, samples_of(batch))

    # ---------------------------------------------------------------- statistics of the data

    @property
    def needs_data(self) -> bool:
        """Whether ``normalize_kwargs`` requests statistics of the data."""
        return self.options.auto or bool(self._reference_keys())

    def check_filled(self) -> None:
        """Raise an error if statistics of the data are requested and have not been set yet."""
        if self.needs_data and self.normalizers.unset():
            raise ValueError(
                f"the normalizers of {self.normalizers.unset()} have no statistics yet. Train the task, or "
                "load a checkpoint"
            )

    def begin_run(self) -> None:
        """Discard the statistics of the data and of the checkpoint that an earlier run used."""
        self._passed = None
        if self._resumes:
            self._stored, self._resumes = None, False

    def continue_as_new_run(self) -> None:
        """Treat a loaded checkpoint as the start of a new run, which may use other data."""
        self._resumes = False

    def fill(self, data: TrainingData) -> None:
        """Set the requested statistics of the data, unless all normalizers have statistics already."""
        if self.needs_data and self.normalizers.unset():
            self._set(self._scales_of_data(data), data)

    def _set(self, scales: Mapping[str, Scale], data: TrainingData) -> None:
        self.normalizers.set_scales(scales)
        if data.trainer.is_global_zero:
            for key, scale in scales.items():
                logger.info(
                    "statistics of target %r from %s: %s", key, scale.source, self.normalizers.of(key)
                )

    def _reference_keys(self) -> list[str]:
        """Return the targets that are shifted by the reference energies of the data."""
        return [key for key, scale in self._given.items() if scale.references == "auto"]

    def _scales_of_data(self, data: TrainingData) -> dict[str, Scale]:
        """Return the scales of the data, updated with those of ``normalize_kwargs``."""
        references = self._reference_keys()
        statistics = self._statistics_of(data, references)
        scales = self._rules.of_data(statistics, references) if self.options.auto else {}
        for key in references:
            found = self._rules.scale_of(key, statistics[key], references=True)
            scales[key] = replace(scales.get(key, replace(found, std=None)), mean=None, per_atom=False)
            scales[key] = replace(scales[key], references=found.references)
        for key, given in self._given.items():
            if given.references == "auto":
                given = replace(given, references=None)
            scales[key] = scales[key].updated(given) if key in scales else given
        return self._rules.complete(scales)

    def _statistics_of(self, data: TrainingData, references: Sequence[str]) -> Mapping[str, Statistics]:
        statistics = data.statistics()
        if statistics is not None and all("reference_energies" in statistics.get(k, {}) for k in references):
            return statistics
        if self._passed is None:
            loader = data.loader(self.normalizers.unset())
            self._passed = statistics_of_batches(loader, self.options.max_samples, references)
            for key in references:
                if "reference_energies" not in self._passed.get(key, {}):
                    raise ValueError(
                        f"{key}_reference='auto' needs the target {key!r} of whole structures, but the "
                        f"training data have the targets {sorted(self._passed)}. Pass the reference energies "
                        "as a dict"
                    )
        # Stored statistics cover the whole data set and take precedence over those of the pass.
        return self._passed | {k: v for k, v in (statistics or {}).items() if k not in references}

    # ---------------------------------------------------------------- checkpoints

    def save(self) -> dict[str, Statistics]:
        """Return the statistics of the normalizers and their sources, in plain types."""
        return {key: self.normalizers.of(key).numbers() for key in self.normalizers}

    def load(self, checkpoint: Checkpoint, resumes: bool) -> None:
        """Compare the statistics of a checkpoint with ``normalize_kwargs``, and take over their sources.

        The statistics themselves are loaded with the state dict of the task. With ``override``, the
        statistics of ``normalize_kwargs`` replace those in ``checkpoint["state_dict"]``.

        Parameters
        ----------
        checkpoint
            The checkpoint of the task.
        resumes
            Whether a trainer continues the run of the checkpoint.

        Raises
        ------
        ValueError
            If ``normalize_kwargs`` differs from the statistics of the checkpoint, unless ``override`` is set.
        """
        stored = checkpoint.get(CHECKPOINT_KEY)
        if stored is None:
            return
        self._stored, self._resumes = stored, resumes
        if not self.needs_data:
            unset = self.normalizers.unset()
            now = {key: numbers for key, numbers in self.save().items() if key not in unset}
            changes = changed_numbers(stored, now)
            if changes and self.options.override:
                for key in now:
                    for name, value in self.normalizers.of(key).state_dict().items():
                        checkpoint["state_dict"][f"normalizers.{key}.{name}"] = value.clone()
                logger.warning(
                    "the statistics in normalize_kwargs replace those of the checkpoint: %s",
                    "; ".join(changes),
                )
                return
            if changes:
                raise ValueError(_refusal(changes, "normalize_kwargs differs"))
        for key in self.normalizers:
            if key in stored:
                normalizer = self.normalizers.of(key)
                normalizer.source, normalizer.count = stored[key]["source"], stored[key]["count"]

    def check_data(self, data: TrainingData) -> None:
        """Compare the statistics of a loaded checkpoint with those of the current data.

        This is not part of `load`, because the data module loads its own part of the checkpoint, such as the
        seed of its splits, only afterwards.

        Raises
        ------
        ValueError
            If a resumed run uses data with other statistics, unless ``override`` is set.
        """
        if self._stored is None or not self.needs_data:
            return
        required = self._resumes or self.options.override
        if not required and data.statistics() is None:
            return  # a pass over the data costs too much for a log line
        scales = self._scales_of_data(data)
        fresh = Normalizers({key: Normalizer() for key in scales})
        fresh.set_scales(scales)
        changes = changed_numbers(self._stored, {key: fresh.of(key).numbers() for key in fresh})
        self._stored = None
        if not changes:
            return
        if self.options.override:
            logger.warning(
                "the statistics of the training data replace those of the checkpoint: %s", "; ".join(changes)
            )
            self._set(scales, data)
        elif self._resumes:
            raise ValueError(_refusal(changes, "the statistics of the training data differ"))
        else:
            logger.warning(
                "the normalizers keep the statistics of the checkpoint, with which the weights were trained, "
                "although the training data have others: %s",
                "; ".join(changes),
            )


def changed_numbers(stored: Mapping[str, Statistics], now: Mapping[str, Statistics]) -> list[str]:
    """Return a description of each statistic that differs from the checkpoint; see `Normalizer.numbers`."""
    changes = []
    for key in now:
        for name in ("mean", "std", "per_atom", "references"):
            before, after = stored.get(key, {}).get(name), now[key][name]
            if key in stored and not _close(before, after):
                changes.append(f"{key} {name} is {before} in the checkpoint and {after} now")
    return changes


def _refusal(changes: Sequence[str], what: str) -> str:
    return (
        f"{what} from the checkpoint, with whose statistics the weights were trained: {'; '.join(changes)}. "
        "To use the statistics of the checkpoint, leave them out of normalize_kwargs, or use the data of "
        'that run. To replace them, set "override": true in normalize_kwargs'
    )


def _close(a: object, b: object) -> bool:
    """Return whether two plain values are equal up to the rounding of single precision."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-12)
    return bool(a == b)
