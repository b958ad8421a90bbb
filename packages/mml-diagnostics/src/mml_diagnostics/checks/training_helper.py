"""TrainingHelperCallback: periodic checks of data, embeddings, gradients, weights and loss."""

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mml_diagnostics._lightning import LightningModule, Trainer
from mml_diagnostics.base import DiagnosticCallback, never_fatal
from mml_diagnostics.batch_view import BatchView, sample_ids_of, view_batch
from mml_diagnostics.checks import data, gradients, loss, targets, weights
from mml_diagnostics.checks.encoder_watch import EncoderWatch
from mml_diagnostics.checks.runner import CheckRunner, NotApplicableError
from mml_diagnostics.finding import Problem
from mml_diagnostics.loggers import log_histogram, log_scalars
from mml_diagnostics.step_loss import loss_in

logger = logging.getLogger(__name__)

DATA_CHECKS = (
    data.fractional_positions,
    data.overlapping_atoms,
    data.isolated_nodes,
    data.duplicate_samples,
)


class TrainingHelperCallback(DiagnosticCallback):
    """Inspect a training run every ``update_freq`` steps and report problems in plain language.

    The heuristics are the functions in :mod:`mml_diagnostics.checks`:

    * Data: positions that look fractional, overlapping atoms, isolated nodes, duplicate samples, target
      outliers.
    * Embeddings: exploding, collapsed.
    * Gradients: parameters without a gradient, an encoder that no gradient reaches, dead units, small
      gradients.
    * Weights: an encoder with much smaller weights than its heads, the update-to-weight ratio, a learning
      rate of zero.
    * Loss: no decrease over the last ten checks.

    Histograms of gradient norms, weight norms and embeddings are sent to the trainer's loggers, under
    ``diagnostics/``.

    The callback works with any LightningModule. Checks that need an ``encoder``, ``output_heads`` or a graph
    with ``pos`` and ``edge_index`` are skipped if these are missing; this is logged once. On the steps
    between two inspections, nothing is read from the device, no hook is attached, and the loss is summed on
    its device. Each rank inspects its own batches, and rank zero reports.

    Parameters
    ----------
    small_grad_thres
        Gradient norms below this threshold are reported with severity ``info``; 0 reports none.
    update_freq
        Number of optimizer steps between two inspections. The first step is inspected.
    encoder_hook
        Whether to check the encoder's output. The forward hook is attached only on inspected steps.
    record_param_norm_history
        Whether to record the weight norms of the encoder and the heads, or of the whole module if it has
        neither. They are stored in ``param_norm_history`` and logged as ``diagnostics/<part>_norm``.

    Attributes
    ----------
    param_norm_history
        Mapping from name to a list of (step, norm).

    Raises
    ------
    ValueError
        If ``small_grad_thres`` is negative or not finite, or ``update_freq`` is below one.
    """

    def __init__(
        self,
        small_grad_thres: float = 1e-3,
        update_freq: int = 50,
        encoder_hook: bool = True,
        record_param_norm_history: bool = True,
    ) -> None:
        if not (math.isfinite(small_grad_thres) and small_grad_thres >= 0):
            raise ValueError(f"small_grad_thres must be finite and at least 0, got {small_grad_thres}")
        if update_freq < 1:
            raise ValueError(f"update_freq must be at least 1, got {update_freq}")
        super().__init__()
        self.small_grad_thres = small_grad_thres
        self.update_freq = update_freq
        self.encoder_hook = encoder_hook
        self.record_param_norm_history = record_param_norm_history
        self.param_norm_history: dict[str, list[tuple[int, float]]] = {}
        self.loss_history: list[float] = []
        self._inspected = -1  # the last step that was inspected
        self._live = False  # whether the current step is inspected
        self._before: dict[str, Tensor] = {}
        self._groups: list[dict[str, float]] = []  # learning rates
        self._gradient_norms: dict[str, float] = {}
        self._loss_sum: Tensor | None = None
        self._loss_count = 0
        self._checks = CheckRunner()
        self._encoder = EncoderWatch(self._checks, self._run)

    @never_fatal
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Check the data and attach the encoder hook, if this step is inspected."""
        step = trainer.global_step
        if step % self.update_freq or step == self._inspected:
            return
        self._step = self._inspected = step
        self._forget()
        self._live = True
        view = view_batch(batch)
        for check in DATA_CHECKS:
            self._run(check.__name__, _with_view(check), view)
        learned = getattr(pl_module, "task_keys", None)
        self._run("target_outliers", partial(targets.target_outliers, learned=learned), batch)
        if self.encoder_hook:
            encoder = getattr(pl_module, "encoder", None)
            if isinstance(encoder, nn.Module):
                self._encoder.arm(encoder, self._on_encoder_output, view, sample_ids_of(batch))
            else:
                self._checks.skip("embeddings", "the module has no encoder")

    @never_fatal
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Check the gradients, and copy the weights that ``optimizer`` is about to change."""
        if not self._live:
            return
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        parameters = {name: p for name, p in pl_module.named_parameters() if id(p) in mine}
        norms = gradients.norms_of_gradients(parameters)
        self._run("missing_gradients", gradients.missing_gradients, parameters)
        self._run("dead_units", gradients.dead_units, pl_module)
        self._gradient_norms |= norms
        self._run("small_gradients", gradients.small_gradients, norms, self.small_grad_thres)
        encoder = getattr(pl_module, "encoder", None)
        if not isinstance(encoder, nn.Module):
            self._checks.skip("encoder_without_gradient", "the module has no encoder")
        else:
            named = {f"encoder.{name}": p for name, p in encoder.named_parameters()}
            frozen = not any(p.requires_grad for p in named.values())
            if frozen or any(id(p) in mine for p in named.values()):
                self._run("encoder_without_gradient", gradients.encoder_gradient, named, norms)
        self._before |= {name: p.detach().clone() for name, p in parameters.items() if p.grad is not None}
        for group in optimizer.param_groups:  # read now: schedulers step before the batch ends
            self._groups.append(
                {key: float(group[key]) for key in ("lr", "initial_lr", "max_lr") if key in group}
            )

    @never_fatal
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Add up the loss. At the end of an inspected step, check the weights and the loss."""
        if (value := loss_in(outputs)) is not None:
            self._loss_sum = value.float() if self._loss_sum is None else self._loss_sum + value
            self._loss_count += 1
        if not self._live:
            return
        self._encoder.remove()
        if trainer.global_step == self._step:  # gradients are still being accumulated
            return
        self._check_weights(trainer, pl_module)
        self._check_loss()
        self._log_histograms(trainer, pl_module)
        self._forget()
        for problem in self._checks.new_skips():
            self._log.add(problem, self._step)
            if self._speaks:
                logger.warning("TrainingHelperCallback: %s", problem.message)

    def detach(self) -> None:
        """Remove the forward hook, and release the stored batch and weights."""
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """Return the findings and the histories."""
        return super().state_dict() | {
            "loss_history": list(self.loss_history),
            "param_norm_history": {name: [list(x) for x in h] for name, h in self.param_norm_history.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the findings and the histories of the resumed run."""
        super().load_state_dict(state_dict)
        self.loss_history = list(state_dict["loss_history"])
        histories = state_dict["param_norm_history"].items()
        self.param_norm_history = {name: [(step, norm) for step, norm in h] for name, h in histories}

    @never_fatal
    def _on_encoder_output(self, module: nn.Module, args: object, output: object) -> None:
        self._encoder.look(output)

    def _check_weights(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parts = {part: getattr(pl_module, part, None) for part in ("encoder", "output_heads")}
        named = {part: dict(m.named_parameters()) for part, m in parts.items() if isinstance(m, nn.Module)}
        if len(named) == 2:
            self._run("dwarfed_encoder", weights.dwarfed_encoder, named["encoder"], named["output_heads"])
        else:
            self._checks.skip("dwarfed_encoder", "the module has no encoder or no output_heads")
        if self._groups:
            parameters = dict(pl_module.named_parameters())
            ratios = weights.update_ratios(self._before, {name: parameters[name] for name in self._before})
            decayed = weights.is_decayed(self._groups)
            self._run("update_to_weight_ratio", weights.update_to_weight_ratio, ratios, decayed)
            self._run("learning_rate_zero", weights.learning_rate_zero, self._groups)
        if self.record_param_norm_history:
            norms = {}
            for part, tensors in (named or {"module": dict(pl_module.named_parameters())}).items():
                if tensors:
                    norm = float(torch.nn.utils.get_total_norm([t.detach() for t in tensors.values()]))
                    self.param_norm_history.setdefault(part, []).append((self._step, norm))
                    norms[f"diagnostics/{part}_norm"] = norm
            log_scalars(trainer, norms, self._step)

    def _log_histograms(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.loggers or not trainer.is_global_zero:
            return
        tensors = [p.detach() for p in pl_module.parameters() if p.numel()]
        norms = [n.cpu().float() for n in torch._foreach_norm(tensors)] if tensors else []
        for name, values in {
            "gradient_norms": torch.tensor(list(self._gradient_norms.values())),
            "weight_norms": torch.tensor(norms),
            **{f"{level}_embedding": x for level, x in self._encoder.embeddings.items()},
        }.items():
            if len(values):
                log_histogram(trainer, f"diagnostics/{name}", values, self._step)

    def _forget(self) -> None:
        """Release the data of the inspected step."""
        self._live = False
        self._encoder.forget()
        self._before, self._groups, self._gradient_norms = {}, [], {}

    def _check_loss(self) -> None:
        if self._loss_sum is None:
            self._checks.skip("loss_not_falling", "training_step returns no loss")
        elif self._loss_count >= self.update_freq:
            self.loss_history.append(float(self._loss_sum) / self._loss_count)
            self._loss_sum, self._loss_count = None, 0
            self._run("loss_not_falling", loss.loss_not_falling, self.loss_history)

    def _run(self, name: str, check: Callable[..., list[Problem]], *args: object) -> None:
        for problem in self._checks.run(name, check, *args):
            self.report(problem, self._step)


def _with_view(check: Callable[[BatchView], list[Problem]]) -> Callable[[BatchView | None], list[Problem]]:
    def run(view: BatchView | None) -> list[Problem]:
        if view is None:
            raise NotApplicableError("the batch does not have positions")
        return check(view)

    return run
