"""ModelAutocorrelation: autocorrelation of weights, gradients and updates, and warnings of loss spikes."""

import logging
import math
from collections import deque
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.finding import Problem
from mml_diagnostics.loggers import log_figure, log_scalars
from mml_diagnostics.spikes.adam_instability import bimodal_updates, oscillation, unstable_preconditioner
from mml_diagnostics.spikes.adam_trace import WINDOW, AdamTrace, decoupling, sqrt_v_over_eps
from mml_diagnostics.spikes.autocorrelation import Spectrum, summarize_autocorrelation
from mml_diagnostics.spikes.spectra import PNG_FILE, append_spectra, can_plot, plot_spectra
from mml_diagnostics.spikes.step_recorder import StepRecorder, is_adam_like
from mml_diagnostics.step_loss import loss_in

logger = logging.getLogger(__name__)

FEWEST_STEPS = 15  # minimum that the warnings need


class ModelAutocorrelation(DiagnosticCallback):
    r"""Record the autocorrelation of weights, gradients and Adam's updates, and warn before the loss spikes.

    A fixed sample of the elements of all trained parameters is stored for the last ``buffer_size`` optimizer
    steps, in float32 on the parameters' device. The memory is ``buffer_size`` times the number of sampled
    elements, up to four times: for parameters, gradients, and the two moments of Adam-like optimizers, from
    which the updates :math:`u_t = m_t / (\sqrt{v_t} + \epsilon)` are computed. Every
    ``analyze_every_n_steps`` steps the autocorrelation of each element with itself is averaged over the
    elements. It is written to ``autocorrelation.csv`` in the run's directory, and sent as scalars to the
    trainer's loggers. When training ends, the last spectra are plotted to ``autocorrelation.png`` and sent to
    the loggers as a figure. Between two analyses, nothing is read from the device.

    The warnings come from :mod:`mml_diagnostics.spikes.adam_instability`. They detect a curvature close to
    the stability bound while Adam's v is too slow to keep the loss from rising, and updates without a
    bell-shaped distribution in a layer whose :math:`\sqrt v` is close to :math:`\epsilon`. The warnings need
    gradients and an Adam-like optimizer; the first also needs the loss that ``training_step`` returns. Only
    rank zero records, because under DDP all ranks have the same weights.

    Parameters
    ----------
    buffer_size
        Number of optimizer steps that are stored.
    sampled
        Whether to sample the elements; False stores all of them.
    sample_frac
        Share of the elements to sample. At least one element of each parameter is sampled.
    analyze_grads
        Whether to store gradients as well. Without gradients there are no warnings.
    analyze_every_n_steps
        Number of optimizer steps between two analyses. Warnings are reported only at an analysis. Use 10 or
        fewer for a training that is known to spike.

    Attributes
    ----------
    spectra
        Result of the last analysis: mapping from ``"parameters"``, ``"gradients"`` and ``"updates"`` to a
        :class:`~mml_diagnostics.spikes.autocorrelation.Spectrum`.

    Raises
    ------
    ValueError
        If ``buffer_size`` is below 2, ``sample_frac`` is not above 0 and at most 1, or
        ``analyze_every_n_steps`` is below 1.
    """

    def __init__(
        self,
        buffer_size: int = 100,
        sampled: bool = True,
        sample_frac: float = 0.05,
        analyze_grads: bool = True,
        analyze_every_n_steps: int = 50,
    ) -> None:
        if buffer_size < 2:
            raise ValueError(f"buffer_size must be at least 2, got {buffer_size}")
        if not 0 < sample_frac <= 1:
            raise ValueError(f"sample_frac must be greater than 0 and at most 1, got {sample_frac}")
        if analyze_every_n_steps < 1:
            raise ValueError(f"analyze_every_n_steps must be at least 1, got {analyze_every_n_steps}")
        super().__init__()
        self.buffer_size = buffer_size
        self.sampled = sampled
        self.sample_frac = sample_frac
        self.analyze_grads = analyze_grads
        self.analyze_every_n_steps = analyze_every_n_steps
        self.spectra: dict[str, Spectrum] = {}
        self._recorder: StepRecorder | None = None
        self._active = False
        self._losses: deque[Tensor] = deque(maxlen=WINDOW)
        self._said_no_loss = False
        self._loss: Tensor | None = None  # of the current step, summed over its batches

    @never_fatal
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log which records and warnings are unavailable in this run."""
        self.detach()
        self._active = trainer.is_global_zero
        optimizers = list(trainer.optimizers)
        if not any(p.requires_grad for p in pl_module.parameters()):
            self._skip("the module has no parameter that is trained")
            self._active = False
        elif not optimizers:
            self._skip("there is no optimizer")
            self._active = False
        elif not any(is_adam_like(optimizer) for optimizer in optimizers):
            names = ", ".join(type(optimizer).__name__ for optimizer in optimizers)
            self._skip(f"{names} has no moments like Adam's, so that updates and warnings are left out")
        elif not self.analyze_grads:
            self._skip("analyze_grads is False, so that warnings are left out")
        if self._active and not can_plot():
            self._skip("there are no pictures without matplotlib (pip install mml-diagnostics[plots])")

    @never_fatal
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Record one step of the first optimizer, and run the analysis if it is due."""
        if not self._active:
            return
        self._step = trainer.global_step
        if self._recorder is None:  # only now, because lazy parameters have their shapes here
            fraction = self.sample_frac if self.sampled else 1.0
            recorder = StepRecorder(pl_module, optimizer, self.buffer_size, fraction, self.analyze_grads)
            if recorder.sample.size == 0:
                return
            self._recorder = recorder
        recorder = self._recorder
        if optimizer is not recorder.optimizer:
            return
        due = self._step % self.analyze_every_n_steps == 0
        if recorder.record() and due and len(recorder) >= min(FEWEST_STEPS, self.buffer_size):
            self._analyze(trainer, recorder)

    @never_fatal
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Store the loss tensor. Its value is not read, which would require waiting for the device."""
        loss = loss_in(outputs)
        if not self._active or loss is None:
            return
        self._loss = loss if self._loss is None else self._loss + loss
        if trainer.global_step > self._step:
            self._losses.append(self._loss)
            self._loss = None

    @never_fatal
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plot the last spectra. A figure at each analysis would cost more than the analysis."""
        if not self.spectra or not can_plot():
            return
        figure = plot_spectra(self.spectra, self._step)
        if self._run_dir is not None:
            figure.savefig(Path(self._run_dir) / PNG_FILE)
        log_figure(trainer, "autocorrelation/spectra", figure, self._step)

    def detach(self) -> None:
        """Release the parameters and the stored steps."""
        self._recorder = self._loss = None
        self._losses.clear()

    def _analyze(self, trainer: Trainer, recorder: StepRecorder) -> None:
        rows = recorder.rows()
        if not len(rows["parameters"]):
            return
        self.spectra = {kind: summarize_autocorrelation(x) for kind, x in rows.items() if kind != "v"}
        scalars = {}
        for kind, spectrum in self.spectra.items():
            scalars[f"autocorrelation/{kind}_time"] = float(spectrum.correlation_time)
            if len(spectrum.mean) > 1:
                scalars[f"autocorrelation/{kind}_lag1"] = float(spectrum.mean[1])
        loss = float(torch.stack([*self._losses]).float().median()) if self._losses else math.nan
        if (trace := recorder.trace(rows, loss)) is not None:
            if not self._losses and not self._said_no_loss:
                self._said_no_loss = True
                self._skip("training_step returns no loss, so that spikes are not foreseen")
            for problem in [*unstable_preconditioner(trace), *bimodal_updates(trace)]:
                self.report(problem, self._step)
            scalars |= _adam_scalars(trace)
        log_scalars(trainer, scalars, self._step)
        if self._run_dir is not None:
            append_spectra(Path(self._run_dir), self.spectra, self._step)

    def _skip(self, what: str) -> None:
        problem = Problem("skipped_checks", "info", f"ModelAutocorrelation: {what}.", "", where=what)
        self._log.add(problem, self._step)
        if self._speaks:
            logger.warning("%s", problem.message)


def _adam_scalars(trace: AdamTrace) -> dict[str, float]:
    seen = oscillation(trace)
    numbers = {
        "adam/least_decoupling": float(decoupling(trace).nan_to_num(math.inf).min()),
        "adam/sharpness": seen.sharpness,
        "adam/spike_height": seen.height,
        "adam/least_sqrt_v_over_eps": float(sqrt_v_over_eps(trace).nan_to_num(math.inf).min()),
    }
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
