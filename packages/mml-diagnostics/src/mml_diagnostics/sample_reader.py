"""Sampled elements of several tensors per parameter, copied at every step: it has to be done in few calls."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mml_diagnostics.parameter_sample import ParameterSample


class SampleReader:
    """Copies the sampled elements of tensors that belong to parameters, such as their gradients.

    Small tensors are joined and the elements picked from the whole: three calls for all of them, where a view
    and a copy for each would cost more than the copying. Of large ones only the elements are touched.

    Parameters
    ----------
    sample
        Which elements.
    kinds
        How many tensors there are per parameter.
    """

    def __init__(self, sample: ParameterSample, kinds: int) -> None:
        self._sample = sample
        self._kinds = kinds
        device = sample.parameters[0].device if sample.parameters else torch.device("cpu")
        self._out = torch.zeros(kinds, sample.size, device=device)
        small = sample.num_small
        self._width = sum(sample.sizes[:small])
        numbers = [p.numel() for p in sample.parameters[:small]]
        self._zeros = [torch.zeros(number, device=device) for number in numbers]
        picked = [sample.positions(i) + sum(numbers[:i]) for i in range(small)]
        if picked:
            one = torch.cat(picked)
            self._picked = torch.cat([one + kind * sum(numbers) for kind in range(kinds)]).to(device)
        self._parts = [row[self._width :].split(sample.sizes[small:]) for row in self._out]

    def read(self, tensors: Sequence[Sequence[Tensor | None]]) -> Tensor:
        """Return [kinds, size] float32, which the next call overwrites.

        Parameters
        ----------
        tensors
            For each kind, one for each parameter and of its shape; None counts as zeros.
        """
        sample, small = self._sample, len(self._zeros)
        with torch.no_grad():
            if small:
                joined = torch._utils._flatten_dense_tensors(
                    [
                        zero if t is None else t
                        for row in tensors
                        for t, zero in zip(row[:small], self._zeros, strict=True)
                    ]
                )
                picked = joined.index_select(0, self._picked).view(self._kinds, -1)
                self._out[:, : self._width].copy_(picked)
            for row, parts in zip(tensors, self._parts, strict=True):
                for i, part in enumerate(parts, start=small):
                    part.copy_(sample.view(i, row[i]))
        return self._out
