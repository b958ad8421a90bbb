"""Compute statistics of the targets in one pass over the training data, if no stored ones are available."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping

import torch.distributed as dist
from mml_samples import SYMBOLS, Batch
from pytorch_lightning.utilities.seed import isolate_rng

from mml_tasks.normalization.running_statistics import TargetStatistics
from mml_tasks.protocols import Statistics
from mml_tasks.trainer.ranks import objects_of_all_ranks, world_size

logger = logging.getLogger(__name__)


def statistics_of_batches(
    batches: Iterable[Batch], max_samples: int, reference_keys: Collection[str] = ()
) -> dict[str, Statistics]:
    """Return the statistics of the targets of a training loader; the result is the same on every rank.

    Every rank reads its own loader, and the statistics are merged. If all ranks saw the same data, because
    the loader does not divide the data among them, the data are counted once. Batches are not kept, and the
    states of random number generators are restored.

    Parameters
    ----------
    batches
        The training loader.
    max_samples
        Maximum number of structures per rank. A rank stops reading once it has seen this many, and ``source``
        in the result reports it.
    reference_keys
        Targets for which reference energies are fitted.

    Returns
    -------
    dict
        Statistics by target, see `TargetStatistics.result`.

    Raises
    ------
    ValueError
        If a batch is invalid, or there are no batches.
    """
    started = time.perf_counter()
    part: TargetStatistics | str
    complete = True
    try:
        part, complete = _read(batches, max_samples, reference_keys)
    except ValueError as error:
        # Raise on every rank: if one rank raised alone, the others would wait for it forever.
        part = str(error)
    merged = TargetStatistics(reference_keys)
    parts = objects_of_all_ranks((part, complete))
    for other, _ in parts:
        if isinstance(other, str):
            raise ValueError(other)
    seen = [other for other, _ in parts if isinstance(other, TargetStatistics)]
    for other in seen[:1] if all(other.saw_the_same(seen[0]) for other in seen) else seen:
        merged.merge(other)
    if merged.samples == 0:
        raise ValueError('normalize_kwargs="auto" needs training data, but the loader has no batches')
    stopped = not all(whole for _, whole in parts)
    source = f"a pass over {merged.samples} structures of the training data"
    if stopped:
        source += f", which stopped at max_samples={max_samples}"
    if world_size() == 1 or dist.get_rank() == 0:
        seconds = time.perf_counter() - started
        logger.info("statistics of targets from %s, in %.1f s", source, seconds)
        _report_rank_deficiency(merged.result(source))
    return merged.result(source)


def _read(
    batches: Iterable[Batch], max_samples: int, reference_keys: Collection[str]
) -> tuple[TargetStatistics, bool]:
    statistics = TargetStatistics(reference_keys)
    with isolate_rng():
        for batch in batches:
            if statistics.samples >= max_samples:
                return statistics, False
            if not isinstance(batch, Mapping):
                raise ValueError(
                    f'normalize_kwargs="auto" requires batches that are dicts, got {type(batch).__name__}. '
                    "Pass the statistics in normalize_kwargs"
                )
            statistics.add(batch)
    return statistics, True


def _report_rank_deficiency(statistics: Mapping[str, Statistics]) -> None:
    for key, entry in statistics.items():
        elements = list(entry.get("reference_energies", ()))
        if len(elements) > entry.get("reference_rank", 0):
            logger.warning(
                "the compositions of the training data determine only %d of the %d reference energies of %r "
                "(%s). The solution of the smallest norm is used: sums over a structure fit the data, but "
                "the energies of single elements are not meaningful",
                entry["reference_rank"],
                len(elements),
                key,
                ", ".join(sorted(elements, key=SYMBOLS.index)),
            )
