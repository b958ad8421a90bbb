"""Check a module and one batch without a run: whether the module is ready to be trained."""

import copy
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from mml_diagnostics.batch_view import view_batch
from mml_diagnostics.checks import data, gradients, model, targets
from mml_diagnostics.checks.runner import NotApplicableError
from mml_diagnostics.finding import Problem
from mml_diagnostics.non_finite.bad_values import bad_inputs, masks_labels
from mml_diagnostics.non_finite.replay import random_state_kept

WIDTH = 80  # characters, the width of a terminal


@dataclass(frozen=True)
class Outcome:
    """Result of one check.

    Parameters
    ----------
    check
        Name of the check.
    result
        ``"ok"``, ``"info"``, ``"warning"``, ``"error"``, ``"skipped"`` or ``"failed"``.
    problems
        Problems that the check detected; empty if there are none.
    note
        Reason why the check was skipped or failed.
    """

    check: str
    result: str
    problems: tuple[Problem, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Results of :func:`diagnose`. Its ``str`` is a table of the results with advice."""

    outcomes: tuple[Outcome, ...]

    @property
    def problems(self) -> list[Problem]:
        """All detected problems, in the order of the checks."""
        return [problem for outcome in self.outcomes for problem in outcome.problems]

    @property
    def healthy(self) -> bool:
        """Whether no check failed or detected a warning or an error."""
        return all(outcome.result in ("ok", "info", "skipped") for outcome in self.outcomes)

    def __str__(self) -> str:
        indent = " " * 9
        lines = []
        for outcome in self.outcomes:
            lines.append(f"{outcome.result:<8} {outcome.check}")
            for text in [f"{p.message} {p.advice}" for p in outcome.problems] or [outcome.note]:
                lines += textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
        return "\n".join(lines)


def diagnose(
    module: Any, batch: object, loader: Iterable[object] | None = None, steps: int = 50, seed: int = 0
) -> Diagnosis:
    """Run the checks that need no trainer. They take seconds instead of a training run.

    The checks look at the batch (non-finite values, positions, edges, duplicates, target outliers, size of
    the targets) and at the module: whether gradients reach every parameter, whether the output depends on the
    orientation, the origin or the order of atoms, and whether one batch can be overfitted. With ``loader``,
    the share of time spent waiting for data is measured as well. The checks work on a copy of the module:
    weights, gradients and the random states of torch, NumPy and Python do not change.

    Parameters
    ----------
    module
        Any LightningModule that is ready to be trained; its parameters must exist.
    batch
        Input of the module's ``training_step``, on the module's device.
    loader
        Iterable of batches. Without it, data loading is not checked.
    steps
        Maximum number of optimizer steps to overfit one batch.
    seed
        Seed for the random numbers of the module's forward pass.

    Returns
    -------
    Diagnosis
        One outcome per check. A check that does not apply is ``"skipped"``. A check that raises an exception
        is ``"failed"``, with the exception as its note; an example is a training step that needs a trainer.

    Raises
    ------
    ValueError
        If ``steps`` is below one.
    TypeError
        If the module has no ``training_step``.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not callable(getattr(module, "training_step", None)):
        raise TypeError(f"module must be a LightningModule with a training_step, got {type(module).__name__}")
    checks: dict[str, Callable[[Any], list[Problem]]] = {
        "finite_batch": lambda it: _finite_batch(batch, masks_labels(it)),
        "positions_and_edges": lambda _: _structures(batch),
        "target_outliers": lambda it: targets.target_outliers(batch, learned=getattr(it, "task_keys", None)),
        "normalized_targets": partial(model.normalized_targets, batch=batch),
        "gradients_reach_parameters": partial(_gradients, batch=batch),
        "invariant_output": partial(_invariant, batch=batch),
        "overfits_one_batch": partial(model.overfits_one_batch, batch=batch, steps=steps),
    }
    if loader is not None:
        checks["data_loading_share"] = partial(model.data_loading_share, loader=loader)
    return Diagnosis(tuple(_outcome(name, check, module, seed) for name, check in checks.items()))


def _outcome(name: str, check: Callable[[Any], list[Problem]], module: Any, seed: int) -> Outcome:
    try:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        with _undisturbed(seed, device):
            problems = tuple(check(copy.deepcopy(module).train()))
    except NotApplicableError as reason:
        return Outcome(name, "skipped", note=f"{str(reason)[:1].upper()}{str(reason)[1:]}.")
    except Exception as error:
        return Outcome(name, "failed", note=f"{type(error).__name__}: {error}")
    worst = [level for level in ("error", "warning", "info") if level in {p.severity for p in problems}]
    return Outcome(name, worst[0] if worst else "ok", problems)


def _finite_batch(batch: object, masked: bool) -> list[Problem]:
    missing = [
        Problem(
            check="finite_batch",
            severity="info",
            message=f"{int(rows.sum())} of {len(rows)} rows of target {name} lack a label or a part of it.",
            advice="The module masks these labels. Check that they are missing on purpose.",
            where=name,
        )
        for name, values in (targets.targets_of(batch).items() if masked else ())
        if (rows := values.isnan().reshape(len(values), -1).any(dim=1)).any()
    ]
    return missing + [
        Problem(
            check="finite_batch",
            severity="error",
            message=f"Not finite in the batch: {suspect}.",
            advice="Correct the sample in the data set or remove it.",
            where=suspect.sample,
        )
        for suspect in bad_inputs(batch, masked)
    ]


def _structures(batch: object) -> list[Problem]:
    view = view_batch(batch)
    if view is None:
        raise NotApplicableError("the batch does not have positions")
    problems = data.fractional_positions(view) + data.duplicate_samples(view)
    if view.edge_index is not None:
        problems += data.isolated_nodes(view)
        problems += data.overlapping_atoms(view) if view.offsets is not None else []
    return problems


def _gradients(module: Any, batch: object) -> list[Problem]:
    module.zero_grad(set_to_none=True)
    loss = model.loss_of(module, batch)
    loss.backward()
    parameters = dict(module.named_parameters())
    norms = gradients.norms_of_gradients(parameters)
    problems = gradients.missing_gradients(parameters)
    bad = [name for name, norm in norms.items() if not norm < float("inf")]
    if bad:
        problems.append(
            Problem(
                check="non_finite_gradient",
                severity="error",
                message=f"The gradients of {len(bad)} of {len(norms)} parameters contain NaN or Inf: "
                f"{gradients.listed(bad)} (loss {float(loss.detach()):.4g}).",
                advice="Check the batch, then the divisions, roots and logarithms in the forward pass.",
                where=bad[-1],
            )
        )
    if isinstance(encoder := getattr(module, "encoder", None), torch.nn.Module):
        named = {f"encoder.{name}": p for name, p in encoder.named_parameters()}
        problems += gradients.encoder_gradient(named, norms) if named else []
    return problems


def _invariant(module: Any, batch: object) -> list[Problem]:
    module.eval()
    return model.invariant_output(module, batch)


@contextmanager
def _undisturbed(seed: int, device: torch.device) -> Iterator[None]:
    with random_state_kept(device), torch.enable_grad(), warnings.catch_warnings():
        # A module that logs values warns that it has no trainer, which is expected here.
        warnings.filterwarnings("ignore", message=".*self.trainer.* reference is not registered.*")
        torch.manual_seed(seed)
        yield
