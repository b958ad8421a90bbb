"""Copy sampled elements of several tensors per parameter, with few calls because it runs at every step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mml_diagnostics.spikes.parameter_sample import ParameterSample


class SampleReader:
    """Copy the sampled elements of tensors that belong to parameters, such as their gradients.

    Small tensors are concatenated, and their elements are selected from the result. This takes three calls in
    total; a view and a copy for each tensor would take longer than the copying itself. For large tensors,
    only the sampled elements are read.

    Parameters
    ----------
    sample
        The elements to copy.
    kinds
        Number of tensors per parameter.
    """

    def __init__(self, sample: ParameterSample, kinds: int) -> None:
        self._sample = sample
        self._small = small = sample.num_small
        self._width = sum(sample.sizes[:small])
        device = sample.parameters[0].device if sample.parameters else torch.device("cpu")
        numbers = [p.numel() for p in sample.parameters[:small]]
        self._zeros = [torch.zeros(number, device=device) for number in numbers]
        places = [sample.positions(i) + sum(numbers[:i]) for i in range(small)]
        of_one = torch.cat(places) if places else torch.zeros(0, dtype=torch.long)
        self._places = torch.cat([of_one + kind * sum(numbers) for kind in range(kinds)]).to(device)

    def read(self, tensors: Sequence[Sequence[Tensor | None]], out: Tensor) -> None:
        """Copy the sampled elements to ``out``.

        Parameters
        ----------
        tensors
            For each kind, one tensor per parameter, with the shape of the parameter. ``None`` stands for
            zeros.
        out
            Output tensor, [kinds, size] float32.
        """
        small = self._small
        with torch.no_grad():
            if small:
                whole = [
                    zeros if t is None else t
                    for row in tensors
                    for t, zeros in zip(row[:small], self._zeros, strict=True)
                ]
                joined = torch._utils._flatten_dense_tensors(whole).float()
                if small == len(self._sample.parameters):
                    torch.index_select(joined, 0, self._places, out=out.view(-1))
                    return
                out[:, : self._width].copy_(joined.index_select(0, self._places).view(len(out), -1))
            for values, row in zip(out, tensors, strict=True):
                parts = values[self._width :].split(self._sample.sizes[small:])
                for i, part in enumerate(parts, start=small):
                    part.copy_(self._sample.view(i, row[i]))
