"""Record sampled elements of one optimizer's parameters, gradients and moments over the last steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mml_diagnostics.spikes.adam_instability import adam_update
from mml_diagnostics.spikes.adam_trace import AdamTrace
from mml_diagnostics.spikes.parameter_sample import ParameterSample, SeriesBuffer
from mml_diagnostics.spikes.sample_reader import SampleReader


def is_adam_like(optimizer: Optimizer) -> bool:
    """Return whether ``optimizer`` has the options of Adam, and is thus assumed to have Adam's moments."""
    return all("betas" in group and "eps" in group for group in optimizer.param_groups)


class StepRecorder:
    """Record sampled parameters, gradients and, for Adam-like optimizers, moments.

    Recording reads nothing from a device.

    Parameters
    ----------
    module
        Module whose parameters are sampled: those that require a gradient and belong to ``optimizer``.
    optimizer
        Optimizer of the parameters.
    length
        Number of steps to store.
    fraction
        Share of the elements to sample.
    gradients
        Whether to record gradients as well.

    Attributes
    ----------
    sample
        The sampled elements.
    """

    def __init__(
        self, module: nn.Module, optimizer: Optimizer, length: int, fraction: float, gradients: bool
    ) -> None:
        self.optimizer = optimizer
        group_of = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad and id(p) in group_of]
        self.sample = sample = ParameterSample(named, fraction)
        self._group_of = [group_of[id(p)] for p in sample.parameters]
        self._adam = is_adam_like(optimizer)
        self._gradients = gradients
        kinds = 2 * self._adam + 1 + gradients
        device = sample.parameters[0].device if sample.parameters else torch.device("cpu")
        self._buffer = SeriesBuffer(length, kinds * sample.size, device)
        self._reader = SampleReader(sample, kinds)
        self._moments: list[list[Tensor | None]] = []

    def __len__(self) -> int:
        return len(self._buffer)

    def record(self) -> bool:
        """Record the coming step. Call this when gradients are ready, before the optimizer steps.

        Returns
        -------
        bool
            Whether the step was recorded. Before Adam's first step there are no moments, and nothing is
            recorded.
        """
        parameters = self.sample.parameters
        tensors: list[Sequence[Tensor | None]] = []
        if self._adam:
            tensors += self._find_moments()
            if not any(m is not None for m in tensors[1]):
                return False
        tensors.append(parameters)
        if self._gradients:
            tensors.append([_dense(p.grad) for p in parameters])
        self._reader.read(tensors, self._buffer.next_row.view(len(tensors), -1))
        self._buffer.advance()
        return True

    def rows(self) -> dict[str, Tensor]:
        """Return the recorded values as a mapping from kind to [T, n], oldest step first.

        Steps with non-finite values are left out.
        Kinds are ``"parameters"`` and, if they are recorded, ``"gradients"``; for an Adam-like optimizer also
        ``"v"`` and ``"updates"``. If a gradient scaler (fp16) overflows, the gradients are not finite and the
        optimizer skips the step.
        """
        rows = self._buffer.rows
        keep = rows.isfinite().all(1)
        rows = rows if bool(keep.all()) else rows[keep]
        values = list(rows.view(len(rows), -1, self.sample.size).unbind(1)) if self.sample.size else [rows]
        found: dict[str, Tensor] = {}
        if self._adam:
            v, m, *values = values
            eps = self._per_element([float(group["eps"]) for group in self._groups])
            found = {"v": v, "updates": adam_update(m, v, eps.to(v))}
        return found | dict(zip(("parameters", "gradients"), values, strict=False))

    def trace(self, rows: Mapping[str, Tensor], loss: float) -> AdamTrace | None:
        """Return the data for the warnings, or None without gradients or without an Adam-like optimizer.

        Parameters
        ----------
        rows
            Result of :meth:`rows`, so that it is not computed again.
        loss
            Median of the last losses; NaN if unknown.
        """
        if not self._adam or "gradients" not in rows:
            return None
        groups = self._groups
        parameters, sizes = self.sample.parameters, torch.tensor(self.sample.sizes)
        lr, eps = ([float(group[key]) for group in groups] for key in ("lr", "eps"))
        beta1, beta2 = ([float(group["betas"][i]) for group in groups] for i in range(2))
        steps = [float(self.optimizer.state.get(p, {}).get("step", 0)) for p in parameters]
        bias = [1 - b**t if t > 0 and b < 1 else 1.0 for b, t in zip(beta2, steps, strict=True)]
        share = [size / p.numel() for size, p in zip(self.sample.sizes, parameters, strict=True)]
        options = torch.tensor([lr, eps, beta1, beta2, share, bias], dtype=torch.float64)
        layer = torch.arange(len(sizes)).repeat_interleave(sizes)
        return AdamTrace(
            names=tuple(self.sample.names),
            layer=layer,
            gradients=rows["gradients"].cpu(),
            parameters=rows["parameters"].cpu(),
            updates=rows["updates"].cpu(),
            v=rows["v"][-1].cpu() / options[5, layer],
            lr=options[0],
            eps=options[1],
            beta1=options[2],
            beta2=options[3],
            share=options[4],
            loss=loss,
        )

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return [self.optimizer.param_groups[i] for i in self._group_of]

    def _per_element(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values).repeat_interleave(torch.tensor(self.sample.sizes))

    def _find_moments(self) -> list[list[Tensor | None]]:
        """Return v and m of each parameter; None for a parameter without moments."""
        state = self.optimizer.state
        if self._moments:  # the first parameter shows whether the optimizer state was reloaded
            first = state.get(self.sample.parameters[0], {})
            if first.get("exp_avg") is self._moments[1][0]:
                return self._moments
        states: list[Mapping[str, Any]] = [state.get(p, {}) for p in self.sample.parameters]
        m = [one.get("exp_avg") for one in states]
        v = [one.get("max_exp_avg_sq", one.get("exp_avg_sq")) for one in states]
        self._moments = [] if any(x is None for x in (*m, *v)) else [v, m]
        return [v, m]


def _dense(gradient: Tensor | None) -> Tensor | None:
    return gradient if gradient is None or not gradient.is_sparse else gradient.to_dense()
