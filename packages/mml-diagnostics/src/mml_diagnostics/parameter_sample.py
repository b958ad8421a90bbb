"""A fixed sample of a module's parameters, and a memory of what its elements were over the last steps."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class ParameterSample:
    """Every k-th element of each parameter, from an offset that is drawn once.

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
        self.names: list[str] = []
        self.parameters: list[nn.Parameter] = []
        self.sizes: list[int] = []
        self._cuts: list[slice] = []
        for name, parameter in named_parameters:
            if (numel := parameter.numel()) == 0:
                continue
            stride = min(round(1 / fraction), numel)
            width = parameter.shape[-1] if parameter.ndim > 1 else 1
            while 1 < stride < numel and math.gcd(stride, width) > 1:
                stride += 1  # every column of a matrix gets its turn
            start = int(torch.randint(min(stride, numel), (), generator=generator))
            self.names.append(name)
            self.parameters.append(parameter)
            self._cuts.append(slice(start, None, stride))
            self.sizes.append(len(range(start, numel, stride)))

    @property
    def size(self) -> int:
        """Elements taken altogether."""
        return sum(self.sizes)

    def take(self, tensors: Sequence[Tensor | None], out: Tensor) -> None:
        """Copy the sampled elements of ``tensors``, one of the shape of each parameter, to ``out``.

        Parameters
        ----------
        tensors
            In the order of ``parameters``; None counts as zeros.
        out
            [size].
        """
        with torch.no_grad():
            parts = [
                out.new_zeros(size) if t is None else _every(t, cut, size, out)
                for t, cut, size in zip(tensors, self._cuts, self.sizes, strict=True)
            ]
            if parts:
                torch.cat(parts, out=out)


def _every(tensor: Tensor, cut: slice, size: int, like: Tensor) -> Tensor:
    if tensor.is_contiguous():  # one view instead of two: this runs for each parameter at each step
        part = tensor.as_strided((size,), (cut.step,), tensor.storage_offset() + cut.start)
    else:
        part = tensor.reshape(-1)[cut]
    return part if part.dtype == like.dtype and part.device == like.device else part.to(like)


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
