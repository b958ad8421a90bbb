"""ThroughputCallback: measure the speed of a training and the time spent waiting for data."""

import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.batch_view import count_sizes
from mml_diagnostics.loggers import log_scalars

PARTS = ("structures", "atoms", "edges")
SHARED = (*(f"{part}_per_second" for part in PARTS), "data_wait_share", "peak_rss_gib", "peak_device_gib")


class ThroughputCallback(DiagnosticCallback):
    """Measure structures, atoms and edges per second, the share of time spent waiting for data, and memory.

    Counts are read from shapes and times from the host's clock, so the device is synchronized only at a
    report. The first batch of a fit, validation and the writing of checkpoints are not measured. The numbers
    are those of one rank. With several ranks, rank zero also reports the numbers of all ranks.

    Parameters
    ----------
    every_n_steps
        Number of optimizer steps between two reports. Reports are sent to the trainer's loggers as
        ``throughput/<name>``, but not to the progress bar. With several ranks, ``throughput/global/<name>``
        is logged as well: the sums of the rates, the largest memory and the largest share of time spent
        waiting.

    Attributes
    ----------
    summary
        The same numbers over the whole run so far, including resumed runs. It is updated at each report and
        at the end of training. The keys are ``structures_per_second``, ``atoms_per_second``,
        ``edges_per_second`` (each if the batch provides the number), ``data_wait_share`` (0 to 1),
        ``peak_rss_gib`` (of this process, without its workers), ``peak_device_gib`` (allocated by torch, if
        the module is on an accelerator), and ``batches`` and ``seconds`` (the number of measured batches and
        their duration). Empty if nothing was measured.
    rank_summaries
        With several ranks: the numbers of each rank between the last two reports, available on all ranks.

    Raises
    ------
    ValueError
        If ``every_n_steps`` is below one.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        super().__init__()
        self.every_n_steps = every_n_steps
        self.summary: dict[str, float] = {}
        self.rank_summaries: list[dict[str, float]] = []
        self._latest: dict[str, float] = {}
        self._batch_step = 0  # also updated on a rank whose diagnostic is disabled
        self._total: Counter[str] = Counter()
        self._window: Counter[str] = Counter()
        self._mark: float | None = None  # start of the wait for the next batch; None if unknown
        self._wait = 0.0
        self._start: float | None = None

    @never_fatal
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the clock of an earlier fit."""
        self._mark = self._start = None
        self._window = Counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Start the clock of this batch."""
        self._batch_step = trainer.global_step
        self._start_clock()

    @never_fatal
    def _start_clock(self) -> None:
        now = time.perf_counter()
        self._step = self._batch_step
        self._start, self._wait = (None, 0.0) if self._mark is None else (now, now - self._mark)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Stop the clock of this batch, and report if a report is due."""
        stepped = trainer.global_step != self._batch_step
        due = stepped and trainer.global_step % self.every_n_steps == 0
        self._latest = {}
        self._measure(trainer, pl_module, batch, due)
        if due and trainer.world_size > 1:
            # Not guarded: a disabled rank must still answer the other ranks.
            self._share(trainer, pl_module.device)
        self._restart()

    @never_fatal
    def _measure(self, trainer: Trainer, pl_module: LightningModule, batch: object, due: bool) -> None:
        if due and pl_module.device.type != "cpu":
            torch.accelerator.synchronize(pl_module.device)
        if self._start is not None:
            self._count(batch, time.perf_counter() - self._start)
        if due and self._window:
            self._latest = _rates(self._window) | device_memory(pl_module.device)
            names = [name for name in self._latest if name not in ("batches", "seconds")]
            log_scalars(trainer, {f"throughput/{name}": self._latest[name] for name in names}, self._step)
            self._add_up()
            self.summary |= device_memory(pl_module.device)

    @never_fatal
    def _restart(self) -> None:
        self._mark = time.perf_counter()

    def _share(self, trainer: Trainer, device: torch.device) -> None:
        mine = torch.tensor([self._latest.get(name, math.nan) for name in SHARED], device=device)
        everyone = trainer.strategy.all_gather(mine).reshape(-1, len(SHARED)).cpu()
        self.rank_summaries = [
            {name: value for name, value in zip(SHARED, row, strict=True) if not math.isnan(value)}
            for row in everyone.tolist()
        ]
        self._log_global(trainer)

    @never_fatal
    def _log_global(self, trainer: Trainer) -> None:
        log_scalars(
            trainer, {f"throughput/global/{k}": v for k, v in add_up(self.rank_summaries).items()}, self._step
        )

    @never_fatal
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exclude validation: the waiting time before the next batch is unknown."""
        self._mark = None

    @never_fatal
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Exclude the writing of checkpoints: the waiting time before the next batch is unknown."""
        self._mark = None

    @never_fatal
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the summary."""
        self._add_up()

    def state_dict(self) -> dict[str, Any]:
        """Return the findings and the totals."""
        return super().state_dict() | {"total": dict(self._total + self._window)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the findings and the totals of the resumed run."""
        super().load_state_dict(state_dict)
        self._total = Counter(state_dict["total"])

    def _count(self, batch: object, busy: float) -> None:
        seen = {"batches": 1, "wait": self._wait, "busy": busy}
        sizes = zip(PARTS, count_sizes(batch), strict=True)
        self._window.update(seen | {part: size for part, size in sizes if size is not None})

    def _add_up(self) -> None:
        self._total += self._window
        self._window = Counter()
        if self._total:
            self.summary = _rates(self._total)


def _rates(counts: Mapping[str, float]) -> dict[str, float]:
    seconds = counts["wait"] + counts["busy"]
    rates = {f"{part}_per_second": counts[part] / seconds for part in PARTS if part in counts}
    return rates | {
        "data_wait_share": counts["wait"] / seconds,
        "peak_rss_gib": peak_rss_bytes() / 2**30,
        "batches": counts["batches"],
        "seconds": seconds,
    }


def device_memory(device: torch.device) -> dict[str, float]:
    """Return the peak memory allocated by torch on ``device`` as ``peak_device_gib``; empty for a CPU."""
    if device.type == "cuda":
        return {"peak_device_gib": torch.cuda.max_memory_allocated(device) / 2**30}
    if device.type == "xpu":
        return {"peak_device_gib": torch.xpu.max_memory_allocated(device) / 2**30}
    return {}


def add_up(ranks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum over ranks for rates, and the maximum over ranks for all other numbers."""
    names = dict.fromkeys(name for rank in ranks for name in rank)
    return {
        name: (sum if name.endswith("_per_second") else max)(rank[name] for rank in ranks if name in rank)
        for name in names
    }


def peak_rss_bytes() -> int:
    """Return the peak resident set size of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would include the memory of the parent before this program started
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024
