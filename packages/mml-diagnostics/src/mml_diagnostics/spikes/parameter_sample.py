"""A fixed sample of a module's parameters, and a buffer of the sample's values over the last steps."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

SMALL = 4096  # elements; below this size, copying the whole tensor is faster than a separate call for it


class ParameterSample:
    """Sample every k-th element of each parameter, starting at a random but fixed offset.

    Parameters with 4096 elements or fewer come first.

    Parameters
    ----------
    named_parameters
        Names and parameters. Parameters without elements are ignored.
    fraction
        Share of the elements to sample, above 0 and at most 1. At least one element per parameter is sampled.
    seed
        Seed of the offsets, which are therefore the same on all ranks and after a resume.

    Attributes
    ----------
    names, parameters
        Names and parameters that are sampled.
    sizes
        Number of sampled elements of each parameter.
    """

    def __init__(
        self, named_parameters: Iterable[tuple[str, nn.Parameter]], fraction: float, seed: int = 0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        named = [(name, p) for name, p in named_parameters if p.numel()]
        named.sort(key=lambda pair: pair[1].numel() > SMALL)
        self.names = [name for name, _ in named]
        self.parameters = [p for _, p in named]
        self._cuts = [_cut(p, fraction, generator) for p in self.parameters]
        self.sizes = [len(range(p.numel())[cut]) for p, cut in zip(self.parameters, self._cuts, strict=True)]

    @property
    def size(self) -> int:
        """Total number of sampled elements."""
        return sum(self.sizes)

    @property
    def num_small(self) -> int:
        """Number of parameters with 4096 elements or fewer. These parameters come first."""
        return sum(p.numel() <= SMALL for p in self.parameters)

    def positions(self, index: int) -> Tensor:
        """Return the indices of the sampled elements in the flattened ``parameters[index]``."""
        return torch.arange(self.parameters[index].numel())[self._cuts[index]]

    def view(self, index: int, tensor: Tensor | None) -> Tensor:
        """Return the sampled elements of a tensor with the shape of ``parameters[index]``.

        The result is a view if the tensor is contiguous, otherwise a copy. ``None`` gives zeros.
        """
        cut, size = self._cuts[index], self.sizes[index]
        if tensor is None:
            return torch.zeros(size, device=self.parameters[index].device)
        if tensor.is_contiguous():  # one view instead of two
            return tensor.as_strided((size,), (cut.step,), tensor.storage_offset() + cut.start)
        return tensor.reshape(-1)[cut]


def _cut(parameter: nn.Parameter, fraction: float, generator: torch.Generator) -> slice:
    numel = parameter.numel()
    stride = min(round(1 / fraction), numel)
    width = parameter.shape[-1] if parameter.ndim > 1 else 1
    while 1 < stride < numel and math.gcd(stride, width) > 1:
        stride += 1  # so that elements of every column of a matrix are sampled
    return slice(int(torch.randint(min(stride, numel), (), generator=generator)), None, stride)


class SeriesBuffer:
    """Store the last ``length`` rows of n float32 values.

    Parameters
    ----------
    length
        Maximum number of rows.
    size
        Number of values per row, n.
    device
        Device of the buffer.
    """

    def __init__(self, length: int, size: int, device: torch.device | str = "cpu") -> None:
        self._rows = torch.zeros(length, size, device=device)
        self._written = 0

    def __len__(self) -> int:
        return min(self._written, len(self._rows))

    @property
    def next_row(self) -> Tensor:
        """[n], view of the next row to write, which replaces the oldest row."""
        return self._rows[self._written % len(self._rows)]

    def advance(self) -> None:
        """Count the row that was written."""
        self._written += 1

    @property
    def rows(self) -> Tensor:
        """[len, n], stored rows, oldest first."""
        if self._written <= len(self._rows):
            return self._rows[: self._written]
        return self._rows.roll(-(self._written % len(self._rows)), 0)
