"""The section `training_step` of tasks.py: `ForceRegressionTask` compared with the same step in plain torch.

Both compute embeddings of a batch of 16 LiPS frames (83 atoms each, cutoff 5 angstrom) with the same encoder
and head, sum the energy, differentiate it to get forces, compute the mean squared errors, and run the
backward pass. They run in turn. The profiler then counts the synchronizations of host and device in the step
as Lightning calls it and in the plain computation. The difference is caused by the task.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import Timing
from mml_graphs import PeriodicPropertiesTransform, PointCloudToGraphTransform, collate_samples
from mml_models import SchNet
from mml_samples import Batch, Sample
from mml_tasks import ForceRegressionTask
from mml_tasks.testing import ToyEncoder
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

LIMIT = 1.05
FRAMES = 16
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "lips.jsonl"
WAITS = ("aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::is_nonzero", "aten::equal")
"""Operations that make the host wait for a value or a size. On a CPU they are only counted."""


def lips_batch() -> Batch:
    """Return the first frames of the LiPS trajectory, or random frames of the same size if it is missing."""
    neighbors, graph = PeriodicPropertiesTransform(5.0), PointCloudToGraphTransform("pyg")
    samples = []
    for record in _records():
        sample: Sample = {
            "atomic_numbers": torch.tensor(record["atomic_numbers"]),
            "pos": torch.tensor(record["positions"]),
            "cell": torch.tensor(record["cell"]),
            "targets": {
                "energy": torch.tensor([[record["targets"]["energy"]]]),
                "force": torch.tensor(record["targets"]["force"]),
            },
        }
        samples.append(graph(neighbors(sample)))
    return collate_samples(samples)


def _records() -> list[Mapping[str, Any]]:
    if SHARED.is_file():
        with SHARED.open(encoding="utf-8") as lines:
            return [json.loads(next(lines)) for _ in range(FRAMES)]
    print("../shared/data/lips.jsonl does not exist: using random structures of the same size")
    generator = torch.Generator().manual_seed(0)
    side = (83 / 0.046) ** (1 / 3)  # angstrom; gives the number density of LiPS
    return [
        {
            "atomic_numbers": torch.randint(3, 17, (83,), generator=generator).tolist(),
            "positions": (side * torch.rand(83, 3, generator=generator)).tolist(),
            "cell": (side * torch.eye(3)).tolist(),
            "targets": {"energy": -350.0, "force": torch.randn(83, 3, generator=generator).tolist()},
        }
        for _ in range(FRAMES)
    ]


def make_task(encoder: nn.Module) -> ForceRegressionTask:
    """Return the measured task."""
    return ForceRegressionTask(
        encoder, normalize_kwargs={"energy_per_atom_mean": -4.3, "force_std": 0.7}, lr=1e-3
    )


def bare_step(encoder: nn.Module, head: nn.Module, batch: Batch) -> Tensor:
    """Compute the loss without the task."""
    graph = batch["graph"].clone()
    graph.pos = graph.pos.detach().requires_grad_()
    nodes = head(encoder({**batch, "graph": graph}).point_embedding)
    num_atoms = graph.natoms.view(-1, 1)
    energy = nodes.new_zeros(len(num_atoms), 1).index_add(0, graph.batch, nodes)
    (gradient,) = torch.autograd.grad(energy.sum(), graph.pos, create_graph=True)
    # Labels stay in float64 until they are shifted and scaled.
    target = ((batch["targets"]["energy"] + 4.3 * num_atoms) / 0.7).to(energy.dtype)
    forces = (batch["targets"]["force"] / 0.7).to(gradient.dtype)
    energy_loss = nn.functional.mse_loss(energy / num_atoms, target / num_atoms)
    return energy_loss + nn.functional.mse_loss(-gradient, forces)


def time_in_turn(steps: Mapping[str, Callable[[], Tensor]], repeats: int) -> dict[str, list[float]]:
    """Run each step with its backward pass in turn, and return the seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 2):
        for name, step in steps.items():
            started = time.perf_counter()
            step().backward()
            if repeat >= 2:  # warm-up
                seconds[name].append(time.perf_counter() - started)
    return seconds


def waits_of(step: Callable[[], Tensor]) -> Counter[str]:
    """Count the operations in a step and its backward pass in which the host waits for the device."""
    step().backward()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step().backward()
    return Counter(
        {event.key: event.count for event in profiler.key_averages() if event.key in WAITS and event.count}
    )


def lightning_step(task: ForceRegressionTask, batch: Batch) -> Counter[str]:
    """Count the waits in the training step and its backward pass in a Lightning run with logging."""
    counted: list[Counter[str]] = []
    original = task.training_step

    def step(batch: Batch, batch_idx: int) -> Tensor:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            loss = original(batch, batch_idx)
            loss.backward(retain_graph=True)
        counted.append(
            Counter({e.key: e.count for e in profiler.key_averages() if e.key in WAITS and e.count})
        )
        return loss

    task.training_step = step  # type: ignore[method-assign]
    trainer = Trainer(
        accelerator="cpu",
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, DataLoader([batch] * 3, batch_size=None))  # type: ignore[arg-type]
    return counted[-1]


def measure_training_step(quick: bool) -> tuple[dict[str, Any], bool]:
    """Print and return milliseconds per step and waits for the device, and whether the limits are met."""
    batch = lips_batch()
    edges = batch["graph"].edge_index.shape[1]
    print(f"{FRAMES} structures, {len(batch['atomic_numbers'])} atoms, {edges} edges; SchNet")
    results: dict[str, Any] = {"edges": edges}
    good = True
    print(f"{'threads':8} {'step, ms (range)':28} {'bare, ms (range)':28} ratio")
    before = torch.get_num_threads()
    for threads in (1,) if quick else (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        encoder = SchNet(hidden_dim=64, output_dim=64, num_conv=3, cutoff=5.0)
        task = make_task(encoder)
        head = task.output_heads["energy"]
        expected, found = bare_step(encoder, head, batch), task.training_step(batch, 0)
        torch.testing.assert_close(found, expected)
        steps = {
            "step": partial(task.training_step, batch, 0),
            "bare": partial(bare_step, encoder, head, batch),
        }
        seconds = time_in_turn(steps, 15 if quick else 25)
        step, bare = Timing.of(seconds["step"]), Timing.of(seconds["bare"])
        ratio = step.median / bare.median
        good &= ratio <= LIMIT
        results |= {f"step {threads}": step, f"bare {threads}": bare, f"ratio {threads}": ratio}
        print(f"{threads:<8} {step.show(1e3):28} {bare.show(1e3):28} {ratio:.3f}")
    torch.set_num_threads(before)
    print("waits for the device per step, forward and backward:")
    for name, counted in (("ToyEncoder", ToyEncoder(16, cutoff=5.0)), ("SchNet", encoder)):
        task = make_task(counted)
        bare_waits = waits_of(partial(bare_step, task.encoder, task.output_heads["energy"], batch))
        step_waits = lightning_step(task, batch)
        own = step_waits - bare_waits
        good &= not own
        results |= {f"waits {name}": dict(step_waits), f"waits {name} bare": dict(bare_waits)}
        print(f"{name:10} bare {dict(bare_waits)}, logged step {dict(step_waits)}, difference {dict(own)}")
    print(f"limits: at most {LIMIT} times bare, no waits caused by the task: {'met' if good else 'NOT MET'}")
    return results, good
