"""Share of loss spikes that ModelAutocorrelation predicts, and number of its false alarms.

Small networks are fitted with Adam at several learning rates, values of beta2 and seeds, on all samples at
once or on mini-batches. Some of these runs have a spike, most do not. The criterion and its two thresholds
were chosen on other seeds, without any of these runs. A spike is a loss of ten times the median of the 50
steps before it. The first spike of a run counts as predicted if a warning came 5 to 100 steps before it. A
warning in a run without a spike is a false alarm. Every run is seeded, so the numbers are the same on every
machine, up to rounding in torch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from harness import describe_machine, parse_arguments, write_json
from mml_diagnostics.spikes.adam_instability import unstable_preconditioner
from mml_diagnostics.spikes.step_recorder import StepRecorder
from torch import Tensor, nn

STEPS, EVERY, LENGTH, FRACTION = 600, 10, 100, 0.05
AHEAD = range(5, 101)
DIMENSIONS = 16


class Attention(nn.Module):
    """One block of a transformer on four tokens."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.embed, self.qkv, self.out = nn.Linear(4, dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, 1)
        self.first, self.second = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.feed = make_layers([dim, 2 * dim, dim], nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        """Return [samples, 1]."""
        h = self.embed(x.view(len(x), -1, 4))
        q, k, v = self.qkv(self.first(h)).chunk(3, -1)
        h = h + nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out((h + self.feed(self.second(h))).mean(1))


class Convolution(nn.Module):
    """Two convolutions and a mean."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Conv1d(1, 8, 5, padding=2), nn.SiLU(), nn.Conv1d(8, 8, 5, padding=2), nn.SiLU())
        self.layers, self.out = nn.Sequential(*layers), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [samples, 1]."""
        return self.out(self.layers(x[:, None]).mean(2))


def make_layers(sizes: list[int], activation: Callable[[], nn.Module]) -> nn.Module:
    """Return linear layers with an activation between them."""
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(pair[0], pair[1]), activation())]
    return nn.Sequential(*layers[:-1])


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "attention": Attention,
    "convolution": Convolution,
    "tanh, 1 hidden layer": lambda: make_layers([DIMENSIONS, 32, 1], nn.Tanh),
    "SiLU, 3 hidden layers": lambda: make_layers([DIMENSIONS, 24, 24, 24, 1], nn.SiLU),
}


@dataclass(frozen=True)
class Batches:
    """Training data: all samples (size 0) or mini-batches of this size, labels with or without noise."""

    size: int = 0
    noise: float = 0.0

    def __str__(self) -> str:
        return f"batches of {self.size}, noise {self.noise:g}" if self.size else "all samples"

    def draw(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches endlessly."""
        generator = torch.Generator().manual_seed(seed)
        count = 256 if self.size else 64
        x = torch.randn(count, DIMENSIONS, generator=generator)
        y = torch.tanh(x @ torch.randn(DIMENSIONS, 1, generator=generator) / DIMENSIONS**0.5)
        y = y + self.noise * torch.randn(count, 1, generator=generator)
        while True:
            rows = torch.randint(count, (self.size,), generator=generator) if self.size else slice(None)
            yield x[rows], y[rows]


@dataclass(frozen=True)
class Run:
    """Losses of all steps, and the steps with a warning."""

    losses: list[float]
    warned: list[int]

    @property
    def spikes(self) -> list[int]:
        """Steps of spikes, without those within 50 steps after another spike."""
        found: list[int] = []
        for step in range(50, len(self.losses)):
            usual = statistics.median(self.losses[step - 50 : step])
            if self.losses[step] > 10 * usual and (not found or step - found[-1] > 50):
                found.append(step)
        return found

    @property
    def lead(self) -> int | None:
        """Steps between the first warning of the first spike and the spike."""
        first = self.spikes[0]
        return next((first - step for step in self.warned if first - step in AHEAD), None)


def fit(make: Callable[[], nn.Module], lr: float, beta2: float, batches: Batches, seed: int) -> Run:
    """Train one network as the callback with ``analyze_every_n_steps=10`` would observe it."""
    torch.manual_seed(seed)
    network = make()
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, betas=(0.9, beta2))
    recorder = StepRecorder(network, optimizer, LENGTH, FRACTION, gradients=True)
    losses: list[float] = []
    warned: list[int] = []
    for step, (x, y) in zip(range(STEPS), batches.draw(seed), strict=False):
        loss = nn.functional.mse_loss(network(x), y)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()
        if recorder.record() and step % EVERY == 0 and step >= 2 * EVERY:
            trace = recorder.trace(recorder.rows(), statistics.median(losses[-10:]))
            if trace is not None and unstable_preconditioner(trace):
                warned.append(step)
        optimizer.step()
    return Run(losses, warned)


def summarize(runs: list[Run]) -> dict[str, Any]:
    """Count hits and false alarms."""
    spiking = [run for run in runs if run.spikes]
    leads = [run.lead for run in spiking if run.lead is not None]
    quiet = [run for run in runs if not run.spikes]
    return {
        "spiking": len(spiking),
        "warned": len(leads),
        "median_lead": statistics.median(leads) if leads else None,
        "quiet": len(quiet),
        "false_alarms": sum(bool(run.warned) for run in quiet),
    }


def main() -> None:
    """Run the benchmark."""
    arguments = parse_arguments(__doc__)
    torch.set_num_threads(1)
    about = describe_machine("torch", "mml-diagnostics")
    seeds = (200,) if arguments.quick else (200, 201, 202)
    rates = (1e-2,) if arguments.quick else (2e-3, 1e-2, 3e-2)
    settings: list[tuple[float, Batches]] = [
        (0.999, Batches()),
        (0.99, Batches()),
        (0.95, Batches()),
        (0.999, Batches(32, 0.1)),
        (0.99, Batches(32)),
    ]
    runs: dict[tuple[str, float, Batches], list[Run]] = {}
    for name, (beta2, batches), lr, seed in product(NETWORKS, settings, rates, seeds):
        runs.setdefault((name, beta2, batches), []).append(fit(NETWORKS[name], lr, beta2, batches, seed))
    groups = {name: [r for key, some in runs.items() for r in some if key[0] == name] for name in NETWORKS}
    for beta2, batches in settings:
        title = f"beta2 {beta2:g}, {batches}"
        groups[title] = [r for key, some in runs.items() for r in some if key[1:] == (beta2, batches)]
    groups["all"] = [r for some in runs.values() for r in some]
    print(f"{'':42} {'spiking':>8} {'warned':>7} {'lead':>5} {'quiet':>6} {'false alarms':>13}")
    results = {title: summarize(some) for title, some in groups.items()}
    for title, r in results.items():
        lead = "" if r["median_lead"] is None else f"{r['median_lead']:g}"
        print(f"{title:42} {r['spiking']:8} {r['warned']:7} {lead:>5} {r['quiet']:6} {r['false_alarms']:13}")
    write_json(arguments.json, about, results)


if __name__ == "__main__":
    main()
