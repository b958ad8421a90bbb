"""The checks without a run: whether a module is ready to be trained on batches like this one."""

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
from mml_diagnostics.non_finite import bad_inputs
from mml_diagnostics.replay import random_state_kept

WIDTH = 80  # characters, as a terminal has


@dataclass(frozen=True)
class Outcome:
    """What one check came to.

    Parameters
    ----------
    check
        Its name.
    result
        ``"ok"``, ``"info"``, ``"warning"``, ``"error"``, ``"skipped"`` or ``"failed"``.
    problems
        What it saw; empty where all is well.
    note
        Why it was skipped, or how it failed.
    """

    check: str
    result: str
    problems: tuple[Problem, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose` found; ``str`` of it is a table with advice."""

    outcomes: tuple[Outcome, ...]

    @property
    def problems(self) -> list[Problem]:
        """All that was seen, in the order of the checks."""
        return [problem for outcome in self.outcomes for problem in outcome.problems]

    @property
    def healthy(self) -> bool:
        """Whether no check saw a warning or an error, or failed."""
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
    module: Any, batch: Any, loader: Iterable[Any] | None = None, steps: int = 50, seed: int = 0
) -> Diagnosis:
    """Run the checks that need no trainer: seconds, not a training.

    Looked at are the batch (values that are not finite, positions, edges, duplicates, target outliers, size
    of the targets), whether gradients reach every parameter, whether the output depends on orientation,
    origin or the order of atoms, whether one batch can be learned by heart, and, with a loader, the share of
    time spent waiting for data. Works on a copy of the module: weights, gradients and the random
    states of torch, NumPy and Python stay as they are.

    Parameters
    ----------
    module
        Any LightningModule, ready to be trained: its parameters are there.
    batch
        What its ``training_step`` takes, on its device.
    loader
        What gives such batches; data loading is not looked at without it.
    steps
        How many steps one batch may take to be learned.
    seed
        For the random numbers of the module's forward pass.

    Returns
    -------
    Diagnosis
        One outcome per check. A check that does not apply is skipped; one that raises, such as a training
        step that needs a trainer, has failed, with what was raised.

    Raises
    ------
    ValueError
        For ``steps`` below one.
    TypeError
        For a module without ``training_step``.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1.")
    if not callable(getattr(module, "training_step", None)):
        raise TypeError(f"{type(module).__name__} has no training_step; give a LightningModule.")
    checks: dict[str, Callable[[Any], list[Problem]]] = {
        "finite_batch": lambda _: _finite_batch(batch),
        "positions_and_edges": lambda _: _structures(batch),
        "target_outliers": lambda it: targets.target_outliers(batch, learned=getattr(it, "task_keys", None)),
        "normalised_targets": partial(model.normalised_targets, batch=batch),
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


def _finite_batch(batch: Any) -> list[Problem]:
    return [
        Problem(
            check="finite_batch",
            severity="error",
            message=f"Not finite in the batch: {suspect}.",
            advice="Correct the sample in the data set or leave it out.",
            where=suspect.sample,
        )
        for suspect in bad_inputs(batch)
    ]


def _structures(batch: Any) -> list[Problem]:
    view = view_batch(batch)
    if view is None:
        raise NotApplicableError("the batch has no positions")
    problems = data.fractional_positions(view) + data.duplicate_samples(view)
    if view.edge_index is not None:
        problems += data.isolated_nodes(view)
        problems += data.overlapping_atoms(view) if view.offsets is not None else []
    return problems


def _gradients(module: Any, batch: Any) -> list[Problem]:
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
                message=f"The gradients of {len(bad)} of {len(norms)} parameters hold NaN or Inf: "
                f"{gradients.listed(bad)} (loss {float(loss.detach()):.4g}).",
                advice="Look at the batch, then at divisions, roots and logarithms in the forward pass.",
                where=bad[-1],
            )
        )
    if isinstance(encoder := getattr(module, "encoder", None), torch.nn.Module):
        named = {f"encoder.{name}": p for name, p in encoder.named_parameters()}
        problems += gradients.encoder_gradient(named, norms) if named else []
    return problems


def _invariant(module: Any, batch: Any) -> list[Problem]:
    module.eval()
    return model.invariant_output(module, batch)


@contextmanager
def _undisturbed(seed: int, device: torch.device) -> Iterator[None]:
    with random_state_kept(device), torch.enable_grad(), warnings.catch_warnings():
        # A module that logs says that it has no trainer: that is how it is here.
        warnings.filterwarnings("ignore", message=".*self.trainer.* reference is not registered.*")
        torch.manual_seed(seed)
        yield
