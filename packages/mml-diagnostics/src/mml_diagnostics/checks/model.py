"""Checks of a module and one batch, without a run. The checks change the module."""

import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from mml_diagnostics.batch_view import count_sizes, look_up, view_batch
from mml_diagnostics.checks.moved import moved, random_order, random_rotation, reordered
from mml_diagnostics.checks.runner import NotApplicableError
from mml_diagnostics.checks.targets import targets_of
from mml_diagnostics.finding import Problem


def loss_of(module: Any, batch: object) -> Tensor:
    """Return the loss of a training step.

    Raises
    ------
    NotApplicableError
        If ``training_step`` returns no loss that depends on parameters, or the module uses manual
        optimization.
    """
    if not getattr(module, "automatic_optimization", True):
        raise NotApplicableError("the module uses manual optimization")
    output = module.training_step(batch, 0)
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise NotApplicableError("training_step does not return a loss that depends on parameters")
    return loss


def overfits_one_batch(
    module: Any, batch: object, steps: int = 50, fall: float = 0.5, lr: float = 1e-2
) -> list[Problem]:
    """Check whether the loss of one batch falls by the share ``fall`` within ``steps`` steps.

    The module's own optimizer is tried first. If the loss does not fall enough, Adam with learning rate
    ``lr`` is tried from the same initial weights. The result distinguishes an unsuitable learning rate from a
    model that cannot learn. If ``configure_optimizers`` needs a trainer, only Adam is tried.
    """
    start = {name: value.detach().clone() for name, value in module.state_dict().items()}
    own = _optimizer(module)
    if own is not None:
        first, best = _train(module, batch, own, steps)
        if best <= fall * first:
            return []
        module.load_state_dict(start)
    adam = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    first_of_adam, best_of_adam = _train(module, batch, adam, steps)
    learns = best_of_adam <= fall * first_of_adam
    if own is None:
        first, best = first_of_adam, best_of_adam
        if learns:
            return []
    return [
        Problem(
            check="overfits_one_batch",
            severity="warning" if learns else "error",
            message=f"In {steps} steps on one batch, the loss decreased from {first:.4g} to {best:.4g}"
            + ("." if own is None else f", and to {best_of_adam:.4g} with Adam at learning rate {lr:g}."),
            advice="The model can learn. Change the learning rate, or a schedule that starts too low."
            if learns
            else "A model that cannot memorize one batch will not learn. Check for detached or frozen parts, "
            "targets that do not match the inputs or are not normalized, and NaN.",
        )
    ]


def invariant_output(module: Any, batch: object, tolerance: float = 1e-3) -> list[Problem]:
    """Check whether the output depends on the orientation, the origin or the order of atoms.

    The check uses the system embeddings of ``module.encoder``, or the output of the module if it has no
    encoder. It compares the output for the original structures with the output for rotated structures, for
    shifted structures and for structures with another order of atoms. The order is not checked for graphs
    without an ``edge_index``. A change is reported if it is larger than ``tolerance`` times the spread of the
    output.

    Raises
    ------
    NotApplicableError
        If the batch has no positions, or the output does not have one row per structure.
    """
    pos = look_up(batch, "pos")
    if not isinstance(pos, Tensor) or pos.ndim != 2 or pos.shape[1] != 3:
        raise NotApplicableError("the batch does not have positions")
    encoder = getattr(module, "encoder", None)
    part, name = (encoder, "the encoder's system embedding") if callable(encoder) else (module, "the output")
    turned = moved(batch, random_rotation(), torch.zeros(3))
    shifted = moved(batch, torch.eye(3, dtype=torch.float64), torch.tensor([1.3, -0.7, 2.1]))
    before = _system(part, moved(batch, torch.eye(3, dtype=torch.float64), torch.zeros(3)))
    size = float((before - before.mean(dim=0)).abs().max())
    size = size or float(before.abs().max()) or 1.0
    others = [
        (turned, "turned", "absolute coordinates or components of vectors are used as numbers"),
        (shifted, "shifted", "absolute coordinates are used as numbers, or offsets are left out"),
    ]
    graph = look_up(batch, "graph")
    view = view_batch(batch)
    if view is not None and (graph is None or isinstance(getattr(graph, "edge_index", None), Tensor)):
        other = reordered(batch, random_order(view.structure_of))
        others.append((other, "given in another order of atoms", "the index of an atom plays a part"))
    problems = []
    for other, how, remedy in others:
        change = float((_system(part, other) - before).abs().max()) / size
        if not change <= tolerance:
            problems.append(
                Problem(
                    check="invariant_output",
                    severity="warning",
                    message=f"If all structures are {how}, {name} changes by {change:.2g} of its spread.",
                    advice=f"Energies and other scalars must not depend on this: {remedy}. This is "
                    "correct only for a model that learns the symmetry from augmented data.",
                    where=how,
                )
            )
    return problems


def normalized_targets(module: Any, batch: object, low: float = 0.1, high: float = 10.0) -> list[Problem]:
    """Find targets whose size is far from one and that the module does not normalize.

    The size is the root mean square over the batch. A module normalizes a target if its ``normalizers``
    mapping contains the target's name. If the module has ``task_keys`` or a ``task_loss_scaling`` mapping,
    only the targets named there are checked.

    Raises
    ------
    NotApplicableError
        If the batch has no float targets.
    """
    targets = targets_of(batch)
    if not targets:
        raise NotApplicableError("the batch does not have floating-point targets")
    own = getattr(module, "normalizers", None) or {}
    used = {*(getattr(module, "task_keys", None) or ()), *(getattr(module, "task_loss_scaling", None) or ())}
    problems = []
    for name, values in targets.items():
        finite = values.double()[values.isfinite()]
        if name in own or (used and name not in used) or not len(finite):
            continue
        size, spread = float(finite.square().mean().sqrt()), float(finite.std(correction=0))
        if (low <= size <= high) or size == 0:
            continue
        problems.append(
            Problem(
                check="normalized_targets",
                severity="warning",
                message=f"Target {name} has a root mean square of {size:.3g} (standard deviation "
                f"{spread:.3g}), and the module does not normalize it.",
                advice="Subtract the mean (for energies, the reference energies of the elements) and "
                "divide by the standard deviation, or enable the module's normalization.",
                where=name,
            )
        )
    return problems


def data_loading_share(
    module: Any, loader: Iterable[object], batches: int = 8, high: float = 0.2
) -> list[Problem]:
    """Measure the share of a step's time that is spent waiting for the next batch.

    Each batch goes through ``training_step`` and the backward pass. The first batch is not measured, because
    the workers start at that time.

    Raises
    ------
    NotApplicableError
        If the loader returns fewer than two batches.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    waited, worked, count = 0.0, 0.0, -1
    mark = time.perf_counter()
    for batch in islice(loader, batches + 1):
        start = time.perf_counter()
        batch = _to(module, batch, device)
        loss_of(module, batch).backward()
        module.zero_grad(set_to_none=True)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        count += 1
        if count:
            waited += start - mark
            worked += time.perf_counter() - start
        mark = time.perf_counter()
    if count < 1:
        raise NotApplicableError("the loader has fewer than two batches")
    share = waited / (waited + worked)
    if share <= high:
        return []
    return [
        Problem(
            check="data_loading_share",
            severity="info",  # costs time only, and depends on the load of the machine
            message=f"{share:.0%} of the time of {count} steps was spent waiting for data "
            f"({1000 * waited / count:.1f} ms of {1000 * (waited + worked) / count:.1f} ms per step).",
            advice="Increase num_workers, set persistent_workers=True, or store precomputed samples.",
        )
    ]


def _train(module: Any, batch: object, optimizer: Any, steps: int) -> tuple[float, float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(module, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    with torch.enable_grad():
        losses.append(loss_of(module, batch).detach())
    values = [float(loss) for loss in losses]
    return values[0], min(values)


def _optimizer(module: Any) -> Any:
    try:
        made = module.configure_optimizers()
    except RuntimeError as error:
        if "Trainer" not in str(error):
            raise
        return None
    if isinstance(made, tuple):  # (optimizers, schedulers)
        made = made[0]
    if isinstance(made, list):
        made = made[0] if made else None
    if isinstance(made, Mapping):
        made = made["optimizer"]
    if made is None:
        raise NotApplicableError("configure_optimizers does not return an optimizer")
    return made


def _system(part: Any, batch: object) -> Tensor:
    output = part(batch)
    output = getattr(output, "system_embedding", output)
    structures = count_sizes(batch)[0]
    if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != structures:
        raise NotApplicableError("the output does not have one row per structure")
    return output.detach().double()


def _to(module: Any, batch: object, device: torch.device) -> Any:
    transfer = getattr(module, "transfer_batch_to_device", None)
    return batch if transfer is None else transfer(batch, device, 0)
