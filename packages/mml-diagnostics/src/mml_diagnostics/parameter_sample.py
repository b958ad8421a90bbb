"""A fixed sample of a module's parameters, and a memory of what its elements were over the last steps."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

SMALL = 4096  # elements; such a tensor is copied whole sooner than a call for it alone is made


class ParameterSample:
    """Every k-th element of each parameter, from an offset that is drawn once. Small parameters come first.

    Parameters
    ----------
    named_parameters
        Names and parameters; those without elements are left out.
    fraction
        Share of the elements to take, above 0, at most 1; of each parameter at least one.
    seed
        Of the offsets: the same on all ranks, and after a resume.

    Attributes
    ----------
    names, parameters
        What is sampled.
    sizes
        Elements taken of each.
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
        """Elements taken altogether."""
        return sum(self.sizes)

    @property
    def num_small(self) -> int:
        """How many of the parameters, the first ones, have 4096 elements or fewer."""
        return sum(p.numel() <= SMALL for p in self.parameters)

    def positions(self, index: int) -> Tensor:
        """Return where the sampled elements are in ``parameters[index]`` when it is flattened."""
        return torch.arange(self.parameters[index].numel())[self._cuts[index]]

    def view(self, index: int, tensor: Tensor | None) -> Tensor:
        """Return the sampled elements of a tensor that has the shape of ``parameters[index]``.

        A view of a contiguous tensor, else a copy; zeros for None.
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
        stride += 1  # every column of a matrix gets its turn
    return slice(int(torch.randint(min(stride, numel), (), generator=generator)), None, stride)


class SeriesBuffer:
    """The last ``length`` rows of n float32 values.

    Parameters
    ----------
    length
        How many rows are kept.
    size
        n.
    device
        Where they are kept.
    """

    def __init__(self, length: int, size: int, device: torch.device | str = "cpu") -> None:
        self._rows = torch.zeros(length, size, device=device)
        self._written = 0

    def __len__(self) -> int:
        return min(self._written, len(self._rows))

    @property
    def next_row(self) -> Tensor:
        """[n], where to write the next row, in the place of the oldest."""
        return self._rows[self._written % len(self._rows)]

    def advance(self) -> None:
        """Count the row that was written."""
        self._written += 1

    @property
    def rows(self) -> Tensor:
        """[len, n], the oldest first."""
        if self._written <= len(self._rows):
            return self._rows[: self._written]
        return self._rows.roll(-(self._written % len(self._rows)), 0)
