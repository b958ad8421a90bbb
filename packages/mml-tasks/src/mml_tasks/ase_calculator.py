"""Use a task as a calculator of the Atomic Simulation Environment (ASE). This module requires ASE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from lightning_fabric.utilities import move_data_to_device
from mml_samples import Batch, Sample
from numpy.typing import NDArray

from mml_tasks.batches import as_batch
from mml_tasks.prediction import evaluation_mode
from mml_tasks.protocols import PredictingTask

Transform = Callable[[Sample], Sample]

_OUTPUTS = {
    "energy": "energy",
    "free_energy": "energy",
    "forces": "force",
    "stress": "stress",
}
"""Map from ASE's properties to the task outputs that provide them."""


@runtime_checkable
class ReusesNeighbors(Protocol):
    """Transform that can use a neighbor list for several steps, with the same results."""

    def with_skin(self, skin: float | None) -> Transform:
        """Return a transform for the successive steps of a simulation. ``None`` selects the fastest way."""
        ...


class TaskCalculator(Calculator):
    """ASE calculator for the energies, forces and stress that a task predicts.

    Use it for relaxations and molecular dynamics. Results are in ASE's units, which are also the units of the
    task: eV, eV/angstrom, and eV/angstrom^3. The stress is in the order xx, yy, zz, yz, xz, xy and is
    positive if the cell tends to contract. ``free_energy`` equals the energy. ``energies`` are the
    contributions of the atoms to the energy, if the task provides them. Results are cached as long as
    positions, elements, cell and periodicity do not change. Call ``reset()`` after further training of the
    task.

    Between the steps of a relaxation or simulation, the calculator keeps all arrays that have not changed. A
    transform that supports it (`mml_graphs.PeriodicPropertiesTransform`) is replaced by the one from its
    ``with_skin(skin)``, which may select the neighbors of a step from a list for several steps, with the same
    results.

    Computations use the dtype of the task's parameters. Use ``task.double()`` for molecular dynamics and
    finite differences, because single precision limits energy conservation.

    Parameters
    ----------
    task_module
        A task that predicts ``energy`` or ``force``. It is used without a copy, in evaluation mode.
    transforms
        List of the transforms that build a graph from a sample ``{"atomic_numbers", "pos", "pbc"[,
        "cell"]}``, as in training.
    conversion_factor
        Factor applied to the outputs of a task that was trained in other units than ASE's: one factor for all
        properties, or a dict from ASE's property name to its factor (``{"energy": 27.2114}``; 1.0 for the
        others).
    output_map
        Dict from ASE's property name to the name of the task's output, for tasks whose outputs have other
        names than ``energy``, ``force`` (ASE's ``forces``) and ``stress``.
    skin
        Distance beyond the cutoff up to which the neighbor list of several steps contains pairs, angstrom.
        The list is built again once an atom has moved by half of it. ``None`` selects the fastest way: no
        list if the search of a step takes less time than the selection from a list, as with the native
        search.
    **kwargs
        Keyword arguments of ASE's `Calculator`.

    Raises
    ------
    TypeError
        If ``task_module`` is not a single task, or ``transforms`` is a single transform instead of a list.
    ValueError
        If the task predicts neither energy nor forces, ``conversion_factor`` or ``output_map`` names an
        unknown property, or there is a ``skin`` but no transform supports it.
    """

    ignored_changes: ClassVar[set[str]] = {"initial_charges", "initial_magmoms"}

    def __init__(
        self,
        task_module: PredictingTask,
        transforms: Sequence[Transform] | None = None,
        *,
        conversion_factor: float | Mapping[str, float] = 1.0,
        output_map: Mapping[str, str] | None = None,
        skin: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        task = task_module
        if not isinstance(task, PredictingTask):
            raise TypeError(
                f"task_module must be a single task, got a {type(task).__name__}. Pass one of its tasks"
            )
        self.output_map = _OUTPUTS | dict(output_map or {})
        if "energy" in (output_map or {}):
            self.output_map["free_energy"] = self.output_map["energy"]
        factors = conversion_factor if isinstance(conversion_factor, Mapping) else {}
        if unknown := {*self.output_map, *factors} - {*_OUTPUTS, "energies"}:
            raise ValueError(
                f"unknown property {sorted(unknown)[0]!r}, expected one of {[*_OUTPUTS, 'energies']}"
            )
        self.conversion_factor = conversion_factor
        outputs = {*task.output_heads, *task.normalizers}
        if not outputs & {self.output_map["energy"], self.output_map["forces"]}:
            raise ValueError(
                f"a calculator needs a task that predicts 'energy' or 'force', but {type(task).__name__} "
                f"predicts {sorted(outputs) or 'nothing yet'}"
            )
        self.task = task
        if callable(transforms):
            raise TypeError(
                f"transforms must be a list, got {transforms!r}. Pass [transform] for a single transform"
            )
        self.transforms: list[Transform] = [
            transform.with_skin(skin) if isinstance(transform, ReusesNeighbors) else transform
            for transform in transforms or ()
        ]
        if skin is not None and not any(isinstance(each, ReusesNeighbors) for each in transforms or ()):
            names = [type(each).__name__ for each in transforms or ()]
            raise ValueError(f"skin is {skin!r}, but none of the transforms {names} has the method with_skin")
        self._unchanged: Sample | None = None  # keys of the sample that have not changed since the last step
        self.implemented_properties = [name for name, output in self.output_map.items() if output in outputs]
        if hasattr(task, "node_energies"):
            self.implemented_properties.append("energies")

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return a property of the atoms, as all ASE calculators do.

        Raises
        ------
        PropertyNotImplementedError
            If the task does not predict the property. The message lists the available properties.
        """
        if name not in self.implemented_properties:
            remedy = ". Create the task with compute_stress=True" if name == "stress" else ""
            raise PropertyNotImplementedError(
                f"{type(self.task).__name__} does not predict {name!r}, only "
                f"{self.implemented_properties}{remedy}"
            )
        return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute all predictions of the task for ``atoms``.

        Raises
        ------
        ValueError
            If there are no atoms, a periodic direction has no lattice vector, or the transforms did not
            create a graph.
        PropertyNotImplementedError
            If the stress is requested for atoms without a periodic volume.
        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        has_volume = atoms.cell.rank == 3 and bool(atoms.pbc.any())
        if "stress" in properties and not has_volume:
            raise PropertyNotImplementedError(
                "the stress requires periodic atoms with three lattice vectors, but these atoms have pbc="
                f"{atoms.pbc.tolist()} and {atoms.cell.rank} lattice vectors"
            )
        with _default_dtype(self._dtype()), _without_stress(self.task, not has_volume):
            sample = self._sample(atoms, system_changes)
            outputs = self.task.predict(sample)
            if "energies" in properties:
                outputs["energies"] = self._node_energies(sample)
        self.results = {
            name: _ase_value(name, outputs[output]) * self._factor(name)
            for name, output in (*self.output_map.items(), ("energies", "energies"))
            if output in outputs
        }

    def _factor(self, name: str) -> float:
        if not isinstance(self.conversion_factor, Mapping):
            return self.conversion_factor
        known = "energy" if name in ("free_energy", "energies") else name
        return self.conversion_factor.get(name, self.conversion_factor.get(known, 1.0))

    def _node_energies(self, sample: Batch) -> torch.Tensor:
        task: Any = self.task
        with evaluation_mode(task), torch.no_grad():
            return task.node_energies(move_data_to_device(sample, task.device))

    def _dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.task.parameters() if p.is_floating_point())

    def _sample(self, atoms: Atoms, system_changes: Sequence[str] = tuple(all_changes)) -> Batch:
        if self._unchanged is None or not {"positions"}.issuperset(system_changes):
            self._unchanged = _unchanged_keys(atoms)
        sample: Sample = {**self._unchanged, "pos": torch.tensor(atoms.positions)}
        for transform in self.transforms:
            sample = transform(sample)
        if "graph" not in sample:
            raise ValueError(
                f"the transforms {[type(t).__name__ for t in self.transforms]} did not create a 'graph'. "
                "Pass the transforms of the training data, such as PeriodicPropertiesTransform and "
                "PointCloudToGraphTransform"
            )
        return as_batch(sample)


def _unchanged_keys(atoms: Atoms) -> Sample:
    """Return all keys of a sample but the positions."""
    if not len(atoms):
        raise ValueError("the Atoms object is empty, but a calculation requires at least one atom")
    flat = [axis for axis in range(3) if atoms.pbc[axis] and not atoms.cell[axis].any()]
    if flat:
        raise ValueError(
            f"the atoms are periodic along axis {flat[0]}, but their cell has no lattice vector there. "
            "Set the cell, or set pbc=False for this axis"
        )
    sample: Sample = {
        "atomic_numbers": torch.tensor(atoms.numbers, dtype=torch.int64),
        "pbc": torch.tensor(atoms.pbc),
    }
    if atoms.cell.rank == 3 or atoms.pbc.any():
        sample["cell"] = torch.tensor(atoms.cell.complete().array)[None]
    return sample


def _ase_value(name: str, value: torch.Tensor) -> float | NDArray[np.float64]:
    array = value.detach().cpu().to(torch.float64).numpy()
    if name in ("energy", "free_energy"):
        return float(array.reshape(()))
    if name == "stress":
        return full_3x3_to_voigt_6_stress(array.reshape(3, 3))
    return np.ascontiguousarray(array.reshape(-1) if name == "energies" else array)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set torch's default dtype, which transforms use for floating-point tensors, within a context."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _without_stress(task: Any, off: bool) -> Iterator[None]:
    """Disable the stress, which is undefined without a volume, within a context if ``off``."""
    before = getattr(task, "compute_stress", False)
    if before:
        task.compute_stress = not off
    try:
        yield
    finally:
        if before:
            task.compute_stress = before
