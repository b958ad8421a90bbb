"""Between physical units and the normalised values that the loss sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mml_tasks.normalization import Scale


class Normalizer(nn.Module):
    """Shift and scale one target: ``norm(x) = (x - shift) / std``, ``denorm(y) = y * std + shift``.

    The shift is ``mean``, or ``natoms * mean`` where ``per_atom`` is set, which keeps an extensive target
    extensive. All numbers are buffers: they follow the module to its device and are part of its checkpoint.

    Parameters
    ----------
    mean
        Shift, in the target's unit (per atom where ``per_atom`` is set).
    std
        Scale, in the target's unit; finite and greater than zero.
    per_atom
        Whether ``mean`` counts once for each atom of a structure.

    Raises
    ------
    ValueError
        If ``mean`` is not finite, or ``std`` is not finite and positive.
    """

    mean: Tensor
    std: Tensor
    per_atom: Tensor
    is_set: Tensor

    def __init__(self, mean: float = 0.0, std: float = 1.0, per_atom: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("per_atom", torch.tensor(False))
        # False until numbers were given: "auto" fills them in once, and never over those of a checkpoint.
        self.register_buffer("is_set", torch.tensor(False))
        self._per_atom = False  # the host's copy of the flag: reading the buffer would wait for the device
        self.register_load_state_dict_post_hook(_read_flag)
        if (mean, std, per_atom) != (0.0, 1.0, False):
            self.set_statistics(mean, std, per_atom)

    def set_statistics(self, mean: float, std: float, per_atom: bool = False) -> None:
        """Fill in the numbers; they are checked as in the constructor."""
        if not math.isfinite(mean):
            raise ValueError(f"the mean of a normaliser must be finite, got {mean}")
        if not (math.isfinite(std) and std > 0):
            raise ValueError(
                f"the standard deviation of a normaliser must be finite and greater than zero, got {std}: "
                "a target that never varies, or holds NaN, cannot be normalised"
            )
        self.mean.fill_(mean)
        self.std.fill_(std)
        self.per_atom.fill_(per_atom)
        self.is_set.fill_(True)
        self._per_atom = per_atom

    def norm(self, x: Tensor, natoms: Tensor | None = None) -> Tensor:
        """Return ``x`` [B, ...] in normalised units; ``natoms`` [B] is needed where ``per_atom`` is set."""
        return (x - self._shift(x, natoms)) / self.std

    def denorm(self, x: Tensor, natoms: Tensor | None = None) -> Tensor:
        """Return normalised ``x`` [B, ...] in physical units; the inverse of `norm`."""
        return x * self.std + self._shift(x, natoms)

    def _shift(self, x: Tensor, natoms: Tensor | None) -> Tensor:
        if not self._per_atom:
            return self.mean
        if natoms is None:
            raise ValueError(
                "this normaliser shifts by a mean per atom: give natoms, the atoms of each structure"
            )
        return natoms.view(-1, *[1] * (x.dim() - 1)).to(x.dtype) * self.mean

    def extra_repr(self) -> str:
        """Show the numbers in the module's repr."""
        return f"mean={self.mean.item():.6g}, std={self.std.item():.6g}, per_atom={self._per_atom}"


def _read_flag(module: nn.Module, _incompatible_keys: Any) -> None:
    if isinstance(module, Normalizer):
        module._per_atom = bool(module.per_atom)


class Normalizers(nn.ModuleDict):
    """The normalisers of a task's outputs, by name; what has none is left as it is."""

    def set_scales(self, scales: Mapping[str, Scale]) -> None:
        """Fill in numbers; those that were not given are a mean of zero and a scale of one."""
        for key, scale in scales.items():
            mean = 0.0 if scale.mean is None else scale.mean
            std = 1.0 if scale.std is None else scale.std
            try:
                self.of(key).set_statistics(mean, std, scale.per_atom)
            except ValueError as error:
                raise ValueError(f"target {key!r}: {error}") from None

    def of(self, key: str) -> Normalizer:
        """Return the normaliser of an output that has one."""
        return cast("Normalizer", self[key])

    def unset(self) -> list[str]:
        """Return the outputs whose normalisers have no numbers yet."""
        return [key for key in self if not self.of(key).is_set]

    def norm(self, key: str, x: Tensor, natoms: Tensor | None) -> Tensor:
        """Return a value of the output ``key`` in normalised units, see `Normalizer.norm`."""
        return self.of(key).norm(x, natoms) if key in self else x

    def denorm(self, key: str, x: Tensor, natoms: Tensor | None) -> Tensor:
        """Return a value of the output ``key`` in physical units, see `Normalizer.denorm`."""
        return self.of(key).denorm(x, natoms) if key in self else x
