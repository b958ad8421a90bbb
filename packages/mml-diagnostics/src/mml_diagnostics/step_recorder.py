"""What a sample of the elements of one optimizer's parameters did over its last steps."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mml_diagnostics.adam_instability import LayerState, adam_update
from mml_diagnostics.parameter_sample import ParameterSample, SeriesBuffer


def is_adam_like(optimizer: Optimizer) -> bool:
    """Whether ``optimizer`` has the options of Adam, and so is taken to hold its two moments."""
    return all("betas" in group and "eps" in group for group in optimizer.param_groups)


class StepRecorder:
    """Remembers sampled parameters, gradients and, of Adam-like optimizers, updates.

    Remembering reads nothing from a device.

    Parameters
    ----------
    module
        Whose parameters are sampled: those that are trained, and by this optimizer.
    optimizer
        The optimizer.
    length
        How many steps are remembered.
    fraction
        Share of elements that is sampled.
    gradients
        Remember gradients, too.

    Attributes
    ----------
    buffers
        ``"parameters"``, ``"gradients"``, ``"updates"`` (what there is of them) to what is remembered.
    """

    def __init__(
        self, module: nn.Module, optimizer: Optimizer, length: int, fraction: float, gradients: bool
    ) -> None:
        self.optimizer = optimizer
        group_of = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad and id(p) in group_of]
        self.sample = ParameterSample(named, fraction)
        self._group_of = [group_of[id(p)] for p in self.sample.parameters]
        self._adam = is_adam_like(optimizer)
        kinds = ["parameters", *["gradients"] * gradients, *["updates"] * self._adam]
        device = self.sample.parameters[0].device if self.sample.size else torch.device("cpu")
        self.buffers = {kind: SeriesBuffer(length, self.sample.size, device) for kind in kinds}
        if self._adam:
            self._moments = torch.zeros(2, self.sample.size, device=device)
            eps = [float(optimizer.param_groups[i]["eps"]) for i in self._group_of]
            self._eps = torch.tensor(eps).repeat_interleave(torch.tensor(self.sample.sizes)).to(device)

    def __len__(self) -> int:
        return len(self.buffers["parameters"])

    def record(self) -> bool:
        """Remember the coming step: call it when gradients are ready, before the optimizer steps.

        Returns
        -------
        bool
            Whether it was: before Adam's first step there are no moments, and nothing is remembered.
        """
        sample, buffers = self.sample, self.buffers
        if self._adam:
            states: list[Mapping[str, Any]] = [self.optimizer.state.get(p, {}) for p in sample.parameters]
            if not any("exp_avg" in state for state in states):
                return False
            m, v = self._moments
            sample.take([state.get("exp_avg") for state in states], m)
            sample.take([_second_moment(state) for state in states], v)
            buffers["updates"].next_row.copy_(adam_update(m, v, self._eps))
        sample.take(sample.parameters, buffers["parameters"].next_row)
        if "gradients" in buffers:
            sample.take([p.grad for p in sample.parameters], buffers["gradients"].next_row)
        for buffer in buffers.values():
            buffer.advance()
        return True

    def finite_rows(self) -> dict[str, Tensor]:
        """Return kind -> [T, n], without the steps at which anything is not finite (an fp16 overflow)."""
        rows = {kind: buffer.rows for kind, buffer in self.buffers.items()}
        keep = torch.stack([x.isfinite().all(1) for x in rows.values()]).all(0)
        return rows if bool(keep.all()) else {kind: x[keep] for kind, x in rows.items()}

    def layers(self) -> dict[str, LayerState]:
        """Return parameter name -> its last steps; empty without gradients or an Adam-like optimizer."""
        if not self._adam or "gradients" not in self.buffers:
            return {}
        rows = self.finite_rows()
        sizes, layers = self.sample.sizes, {}
        split = {kind: x.split(sizes, dim=1) for kind, x in rows.items()}
        moments = self._moments[1].split(sizes)
        for i, (name, parameter) in enumerate(zip(self.sample.names, self.sample.parameters, strict=True)):
            group = self.optimizer.param_groups[self._group_of[i]]
            beta1, beta2 = (float(beta) for beta in group["betas"])
            steps = float(self.optimizer.state.get(parameter, {}).get("step", 0))
            correction = 1 - beta2**steps if steps > 0 else 1.0
            layers[name] = LayerState(
                gradients=split["gradients"][i],
                parameters=split["parameters"][i],
                updates=split["updates"][i],
                v=moments[i] / correction if correction > 0 else moments[i],
                lr=float(group["lr"]),
                eps=float(group["eps"]),
                beta1=beta1,
            )
        return layers


def _second_moment(state: Mapping[str, Any]) -> Tensor | None:
    return state.get("max_exp_avg_sq", state.get("exp_avg_sq"))
