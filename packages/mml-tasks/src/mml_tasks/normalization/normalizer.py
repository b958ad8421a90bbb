"""Convert targets between physical units and the normalized units of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from mml_samples import SYMBOLS
from torch import Tensor, nn

from mml_tasks.normalization.stored_statistics import Number, Scale
from mml_tasks.protocols import Statistics
from mml_tasks.trainer.precision import supports_float64, widened


class Normalizer(nn.Module):
    """Shift and scale one target: ``norm(x) = (x - shift) / std``, ``denorm(y) = y * std + shift``.

    The shift is ``mean`` by default. With ``per_atom``, it is ``natoms * mean``, which keeps an extensive
    target extensive. With ``references``, it is the sum of the reference energies of the atoms. All
    statistics are float64 buffers: they follow the module to its device and are saved in checkpoints. Results
    are computed in float64, for any dtype of ``x``, on the device of ``x`` if it supports float64, else on
    the CPU.

    Parameters
    ----------
    mean
        Shift, in the unit of the target (per atom if ``per_atom`` is True): one number, or an array in the
        shape of the target without its first dimension.
    std
        Scale, in the unit of the target, in the same form as ``mean``; finite and greater than zero.
    per_atom
        Whether ``mean`` is multiplied by the number of atoms of a structure.
    references
        Energy of an atom of each element by atomic number, used instead of ``mean``.

    Raises
    ------
    ValueError
        If a number is not finite, ``std`` is not positive, or an array is given although the shift is a sum
        over atoms.
    """

    mean: Tensor
    std: Tensor
    per_atom: Tensor
    references: Tensor
    is_set: Tensor

    def __init__(
        self,
        mean: Number = 0.0,
        std: Number = 1.0,
        per_atom: bool = False,
        references: Mapping[int, float] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("std", torch.ones((), dtype=torch.float64))
        self.register_buffer("per_atom", torch.tensor(False))
        # By atomic number, infinite for elements without one; empty if the shift is the mean.
        self.register_buffer("references", torch.zeros(0, dtype=torch.float64))
        # False until statistics are set: "auto" sets them once, and does not replace those of a checkpoint.
        self.register_buffer("is_set", torch.tensor(False))
        # Copies on the host, because reading the buffers would wait for the device.
        self._per_atom = False
        self._known_elements = torch.zeros(0, dtype=torch.bool)
        self.source = ""
        self.count: int | None = None
        self.register_load_state_dict_post_hook(_read_flags)
        if (mean, std, per_atom, references) != (0.0, 1.0, False, None):
            self.set_statistics(mean, std, per_atom, references)

    def set_statistics(
        self,
        mean: Number,
        std: Number,
        per_atom: bool = False,
        references: Mapping[int, float] | None = None,
    ) -> None:
        """Set the statistics, with the same checks as in the constructor."""
        means, stds = _array("mean", mean), _array("standard deviation", std)
        if not torch.isfinite(means).all():
            raise ValueError(f"the mean of a normalizer must be finite, got {mean}")
        if not (torch.isfinite(stds) & (stds > 0)).all():
            raise ValueError(
                f"the standard deviation of a normalizer must be finite and positive, got {std}. A constant "
                "target cannot be normalized"
            )
        if (per_atom or references) and means.dim() + stds.dim() > 0:
            raise ValueError(
                "a target whose shift is a sum over atoms must have one mean and one standard deviation, "
                f"got {mean} and {std}"
            )
        energies = torch.zeros(0, dtype=torch.float64)
        if references:
            energies = torch.full((len(SYMBOLS),), torch.inf, dtype=torch.float64)
            energies[list(references)] = torch.tensor(list(references.values()), dtype=torch.float64)
        self._replace("mean", means)
        self._replace("std", stds)
        self._replace("references", energies)
        self.per_atom.fill_(per_atom)
        self.is_set.fill_(True)
        _read_flags(self)

    def norm(self, x: Tensor, natoms: Tensor | None = None, atomic_numbers: Tensor | None = None) -> Tensor:
        """Return ``x``, which is in physical units, in normalized units and in float64.

        Parameters
        ----------
        x
            Values of a target of structures, [B, ...], or of atoms, [N, ...].
        natoms
            Number of atoms of each structure, [B]; required if the shift is a sum over atoms.
        atomic_numbers
            Atomic numbers [N], ordered by structure; required if there are reference energies. The result is
            infinite for structures that contain an element without a reference energy, see
            `unknown_elements`.

        Raises
        ------
        ValueError
            If a required argument is missing, or the shape of a statistic does not match ``x``.
        """
        x = widened(x).to(self.mean.device)
        return (x - self._shift(x, natoms, atomic_numbers)) / self._fitting("std", x)

    def denorm(self, x: Tensor, natoms: Tensor | None = None, atomic_numbers: Tensor | None = None) -> Tensor:
        """Return ``x``, which is in normalized units, in physical units; the inverse of `norm`."""
        x = widened(x).to(self.mean.device)
        return x * self._fitting("std", x) + self._shift(x, natoms, atomic_numbers)

    def denorm_nodes(self, x: Tensor, natoms: Tensor, atomic_numbers: Tensor) -> Tensor:
        """Return the contributions of the atoms, [N, 1]; they sum to the `denorm` of the sums of ``x``."""
        x, natoms = widened(x).to(self.mean.device), natoms.to(self.mean.device)
        if self.has_references:
            shift = self._energies(atomic_numbers)
        elif self._per_atom:
            shift = self.mean.expand(len(x))
        else:  # one shift of the whole structure, divided equally among its atoms
            shift = (self.mean / natoms).repeat_interleave(natoms, output_size=len(x))
        return x * self.std + shift.view(-1, 1).to(x.dtype)

    def unknown_elements(self, atomic_numbers: Tensor) -> list[str]:
        """Return the symbols of the elements without a reference energy; waits for the device."""
        if not self.has_references:
            return []
        seen = torch.unique(atomic_numbers.cpu())
        inside = (seen > 0) & (seen < len(SYMBOLS))
        known = inside & self._known_elements[torch.where(inside, seen, 0)]
        return [SYMBOLS[n] if 0 < n < len(SYMBOLS) else f"atomic number {n}" for n in seen[~known].tolist()]

    def numbers(self) -> Statistics:
        """Return the statistics and their source in plain types; reads from the device."""
        energies = self.references.tolist()
        return {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "per_atom": self._per_atom,
            "references": {SYMBOLS[n]: e for n, e in enumerate(energies) if math.isfinite(e)} or None,
            "source": self.source,
            "count": self.count,
        }

    @property
    def has_references(self) -> bool:
        """Whether the shift is a sum of reference energies."""
        return self.references.shape[0] > 0

    def _energies(self, atomic_numbers: Tensor) -> Tensor:
        return self.references[atomic_numbers.to(self.references.device)]

    def _shift(self, x: Tensor, natoms: Tensor | None, atomic_numbers: Tensor | None) -> Tensor:
        if not (self._per_atom or self.has_references):
            return self._fitting("mean", x)
        if natoms is None or (self.has_references and atomic_numbers is None):
            needed = "natoms and atomic_numbers" if self.has_references else "natoms"
            raise ValueError(
                f"the shift of this normalizer is a sum over the atoms of each structure. Pass {needed}"
            )
        natoms = natoms.to(self.mean.device)
        if self.has_references:
            energies = self._energies(cast("Tensor", atomic_numbers))
            structure = torch.arange(len(natoms), device=natoms.device).repeat_interleave(
                natoms, output_size=len(energies)
            )
            shift = energies.new_zeros(len(natoms)).index_add(0, structure, energies).to(x.dtype)
        else:
            shift = natoms.to(x.dtype) * self.mean
        return shift.view(-1, *[1] * (x.dim() - 1))

    def _fitting(self, name: str, x: Tensor) -> Tensor:
        """Return a statistic; raise an error if it is an array whose shape does not match ``x``."""
        value: Tensor = getattr(self, name)
        if value.dim() and value.shape != x.shape[1:]:
            raise ValueError(
                f"the {name} of the normalizer has shape {list(value.shape)}, but the components of the "
                f"target have shape {list(x.shape[1:])}. Pass one number, or an array of this shape"
            )
        return value

    def _replace(self, name: str, value: Tensor) -> None:
        """Set a buffer in place, or replace it if its shape changes."""
        buffer: Tensor = getattr(self, name)
        if buffer.shape == value.shape:
            buffer.copy_(value)
        else:
            setattr(self, name, value.to(buffer))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name in ("mean", "std", "references"):
            stored = state_dict.get(prefix + name)
            if stored is None and name == "references" and prefix + "mean" in state_dict:
                state_dict[prefix + name] = self.references.new_zeros(0)  # older checkpoints
            elif stored is not None and stored.shape != getattr(self, name).shape:
                setattr(self, name, getattr(self, name).new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Normalizer:
        # The buffers follow the module to its device if that supports float64, and never change their dtype:
        # in single precision, a sum of reference energies could not be subtracted without rounding the rest.
        device = fn(torch.zeros(1, device=self.is_set.device)).device
        if not supports_float64(device):
            device = torch.device("cpu")
        for name, value in self._buffers.items():
            self._buffers[name] = None if value is None else value.to(device)
        return self

    def extra_repr(self) -> str:
        """Return the statistics for the repr of the module."""
        shown = {name: value for name, value in self.numbers().items() if value not in (None, "")}
        if self.mean.dim() == self.std.dim() == 0:
            shown |= {"mean": f"{self.mean.item():.6g}", "std": f"{self.std.item():.6g}"}
        return ", ".join(f"{name}={value}" for name, value in shown.items())


def _array(name: str, value: Number) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError):
        raise ValueError(f"the {name} of a normalizer must be a number or an array, got {value!r}") from None


def _read_flags(module: nn.Module, _incompatible_keys: object = None) -> None:
    if isinstance(module, Normalizer):
        module._per_atom = bool(module.per_atom)
        module._known_elements = torch.isfinite(module.references).cpu()


class Normalizers(nn.ModuleDict):
    """Normalizers of a task's outputs, by name. Outputs without a normalizer are left unchanged."""

    def set_scales(self, scales: Mapping[str, Scale]) -> None:
        """Set statistics. Missing values default to a mean of zero and a scale of one."""
        for key, scale in scales.items():
            if isinstance(scale.references, str):
                raise ValueError(
                    f"the reference energies of {key!r} have not been computed from the data yet"
                )
            mean = 0.0 if scale.mean is None else scale.mean
            std = 1.0 if scale.std is None else scale.std
            normalizer = self.of(key)
            try:
                normalizer.set_statistics(mean, std, scale.per_atom, scale.references)
            except ValueError as error:
                raise ValueError(f"target {key!r}: {error}") from None
            normalizer.source, normalizer.count = scale.source, scale.count

    def of(self, key: str) -> Normalizer:
        """Return the normalizer of an output that has one."""
        return cast("Normalizer", self[key])

    def unset(self) -> list[str]:
        """Return the outputs whose normalizers have no statistics yet."""
        return [key for key in self if not self.of(key).is_set]

    def norm(
        self, key: str, x: Tensor, natoms: Tensor | None, atomic_numbers: Tensor | None = None
    ) -> Tensor:
        """Return values of the output ``key`` in normalized units, see `Normalizer.norm`."""
        return self.of(key).norm(x, natoms, atomic_numbers) if key in self else x

    def denorm(
        self, key: str, x: Tensor, natoms: Tensor | None, atomic_numbers: Tensor | None = None
    ) -> Tensor:
        """Return values of the output ``key`` in physical units, see `Normalizer.denorm`."""
        return self.of(key).denorm(x, natoms, atomic_numbers) if key in self else x

    def check_elements(self, atomic_numbers: Tensor, where: str) -> None:
        """Raise an error for atoms of elements without a reference energy; waits for the device.

        Raises
        ------
        ValueError
            If a target lacks the reference energy of an element. The message names the elements.
        """
        for key in self:
            unknown = self.of(key).unknown_elements(atomic_numbers)
            if unknown:
                raise ValueError(
                    f"{where} contains {', '.join(unknown)}, for which target {key!r} has no reference "
                    "energy because the training data did not contain it. Leave these structures out, or "
                    f"train with these elements and pass their energies as {key}_reference in "
                    "normalize_kwargs"
                )
