"""Between physical units and the normalised values that the loss sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mml_tasks.elements import SYMBOLS
from mml_tasks.normalization import Number, Scale
from mml_tasks.precision import supports_float64, widened


class Normalizer(nn.Module):
    """Shift and scale one target: ``norm(x) = (x - shift) / std``, ``denorm(y) = y * std + shift``.

    The shift is ``mean``; or ``natoms * mean`` where ``per_atom`` is set, which keeps an extensive target
    extensive; or the sum of the atoms' ``references``. All numbers are buffers in float64: they follow the
    module to its device and are part of its checkpoint. Values are computed in float64, whatever the type of
    ``x``, on the device of ``x`` if that supports it, else on the CPU.

    Parameters
    ----------
    mean
        Shift, in the target's unit (per atom where ``per_atom`` is set): one number, or an array that has the
        shape of the target without its first dimension.
    std
        Scale, in the target's unit, as ``mean``; finite and greater than zero.
    per_atom
        Whether ``mean`` counts once for each atom of a structure.
    references
        Energy of an atom of each element, by atomic number, in the place of ``mean``.

    Raises
    ------
    ValueError
        If a number is not finite, ``std`` is not positive, or arrays are given where the shift is a sum over
        atoms.
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
        # By atomic number, infinite for elements that have none; empty where the mean is the shift.
        self.register_buffer("references", torch.zeros(0, dtype=torch.float64))
        # False until numbers were given: "auto" fills them in once, and never over those of a checkpoint.
        self.register_buffer("is_set", torch.tensor(False))
        # The host's copies of what reading the buffers would wait for the device for.
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
        """Fill in the numbers; they are checked as in the constructor."""
        means, stds = _array("mean", mean), _array("standard deviation", std)
        if not torch.isfinite(means).all():
            raise ValueError(f"the mean of a normaliser must be finite, got {mean}")
        if not (torch.isfinite(stds) & (stds > 0)).all():
            raise ValueError(
                f"the standard deviation of a normaliser must be finite and greater than zero, got {std}: "
                "a target that never varies, or holds NaN, cannot be normalised"
            )
        if (per_atom or references) and means.dim() + stds.dim() > 0:
            raise ValueError(
                f"a target whose shift is a sum over atoms has one mean and one standard deviation, got "
                f"{mean} and {std}"
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
        """Return physical ``x`` in normalized units, in float64.

        Parameters
        ----------
        x
            [B, ...], or [N, ...] for a target of atoms.
        natoms
            Atoms of each structure, [B]; needed where the shift is a sum over atoms.
        atomic_numbers
            [N], by structure; needed where there are reference energies. An element without one gives
            infinity: see `unknown_elements`.

        Raises
        ------
        ValueError
            If one that is needed was not given, or arrays of numbers do not fit ``x``.
        """
        x = widened(x).to(self.mean.device)
        return (x - self._shift(x, natoms, atomic_numbers)) / self._fitting("std", x)

    def denorm(self, x: Tensor, natoms: Tensor | None = None, atomic_numbers: Tensor | None = None) -> Tensor:
        """Return normalized ``x`` in physical units; the inverse of `norm`, with its arguments."""
        x = widened(x).to(self.mean.device)
        return x * self._fitting("std", x) + self._shift(x, natoms, atomic_numbers)

    def denorm_nodes(self, x: Tensor, natoms: Tensor, atomic_numbers: Tensor) -> Tensor:
        """Return the shares of the atoms, [N, 1], whose sums are the `denorm` of the sums of ``x``."""
        x, natoms = widened(x).to(self.mean.device), natoms.to(self.mean.device)
        if self.has_references:
            shift = self._energies(atomic_numbers)
        elif self._per_atom:
            shift = self.mean.expand(len(x))
        else:  # one shift of the whole structure: each atom's share is the same
            shift = (self.mean / natoms).repeat_interleave(natoms, output_size=len(x))
        return x * self.std + shift.view(-1, 1).to(x.dtype)

    def unknown_elements(self, atomic_numbers: Tensor) -> list[str]:
        """Return the symbols of the elements that have no reference energy; waits for the device."""
        if not self.has_references:
            return []
        seen = torch.unique(atomic_numbers.cpu())
        inside = (seen > 0) & (seen < len(SYMBOLS))
        known = inside & self._known_elements[torch.where(inside, seen, 0)]
        return [SYMBOLS[n] if 0 < n < len(SYMBOLS) else f"atomic number {n}" for n in seen[~known].tolist()]

    def numbers(self) -> dict[str, Any]:
        """Return the numbers as plain types, and where they came from; reads the device."""
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
                f"this normaliser's shift is a sum over atoms: give {needed}, the atoms of each structure"
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
        """Return an array of numbers, refusing to broadcast one that has not the shape of the components."""
        value: Tensor = getattr(self, name)
        if value.dim() and value.shape != x.shape[1:]:
            raise ValueError(
                f"the normaliser's {name} has the shape {list(value.shape)}, but the target's components "
                f"have {list(x.shape[1:])}: give one number, or an array of that shape"
            )
        return value

    def _replace(self, name: str, value: Tensor) -> None:
        """Fill a buffer in place; make it anew where its shape is another."""
        buffer: Tensor = getattr(self, name)
        if buffer.shape == value.shape:
            buffer.copy_(value)
        else:
            setattr(self, name, value.to(buffer))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name in ("mean", "std", "references"):
            stored = state_dict.get(prefix + name)
            if stored is None and name == "references" and prefix + "mean" in state_dict:
                state_dict[prefix + name] = self.references.new_zeros(
                    0
                )  # checkpoints of before there were any
            elif stored is not None and stored.shape != getattr(self, name).shape:
                setattr(self, name, getattr(self, name).new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> Normalizer:
        # The numbers follow the module to its device if that supports float64, and never change their type:
        # in single precision, a sum of reference energies could not be subtracted without rounding the rest.
        device = fn(torch.zeros(1, device=self.is_set.device)).device
        if not supports_float64(device):
            device = torch.device("cpu")
        for name, value in self._buffers.items():
            self._buffers[name] = None if value is None else value.to(device)
        return self

    def extra_repr(self) -> str:
        """Show the numbers in the module's repr."""
        shown = {name: value for name, value in self.numbers().items() if value not in (None, "")}
        if self.mean.dim() == self.std.dim() == 0:
            shown |= {"mean": f"{self.mean.item():.6g}", "std": f"{self.std.item():.6g}"}
        return ", ".join(f"{name}={value}" for name, value in shown.items())


def _array(name: str, value: Number) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError):
        raise ValueError(f"the {name} of a normaliser must be a number or an array, got {value!r}") from None


def _read_flags(module: nn.Module, _incompatible_keys: Any = None) -> None:
    if isinstance(module, Normalizer):
        module._per_atom = bool(module.per_atom)
        module._known_elements = torch.isfinite(module.references).cpu()


class Normalizers(nn.ModuleDict):
    """The normalisers of a task's outputs, by name; what has none is left as it is."""

    def set_scales(self, scales: Mapping[str, Scale]) -> None:
        """Fill in numbers; those that were not given are a mean of zero and a scale of one."""
        for key, scale in scales.items():
            if isinstance(scale.references, str):
                raise ValueError(f"the reference energies of {key!r} are still to be found in the data")
            mean = 0.0 if scale.mean is None else scale.mean
            std = 1.0 if scale.std is None else scale.std
            normalizer = self.of(key)
            try:
                normalizer.set_statistics(mean, std, scale.per_atom, scale.references)
            except ValueError as error:
                raise ValueError(f"target {key!r}: {error}") from None
            normalizer.source, normalizer.count = scale.source, scale.count

    def of(self, key: str) -> Normalizer:
        """Return the normaliser of an output that has one."""
        return cast("Normalizer", self[key])

    def unset(self) -> list[str]:
        """Return the outputs whose normalisers have no numbers yet."""
        return [key for key in self if not self.of(key).is_set]

    def norm(
        self, key: str, x: Tensor, natoms: Tensor | None, atomic_numbers: Tensor | None = None
    ) -> Tensor:
        """Return a value of the output ``key`` in normalised units, see `Normalizer.norm`."""
        return self.of(key).norm(x, natoms, atomic_numbers) if key in self else x

    def denorm(
        self, key: str, x: Tensor, natoms: Tensor | None, atomic_numbers: Tensor | None = None
    ) -> Tensor:
        """Return a value of the output ``key`` in physical units, see `Normalizer.denorm`."""
        return self.of(key).denorm(x, natoms, atomic_numbers) if key in self else x

    def check_elements(self, atomic_numbers: Tensor, where: str) -> None:
        """Refuse atoms of elements that a target has no reference energy of; waits for the device.

        Raises
        ------
        ValueError
            If there are any; they are named.
        """
        for key in self:
            unknown = self.of(key).unknown_elements(atomic_numbers)
            if unknown:
                raise ValueError(
                    f"{where} holds {', '.join(unknown)}, of which target {key!r} has no reference energy "
                    "because the training data had none: leave these structures out, or give "
                    f"{key}_reference in normalize_kwargs for these elements and train with them"
                )
