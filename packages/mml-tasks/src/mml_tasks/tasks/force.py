"""Task for energy, forces and stress: forces and stress are derivatives of one energy function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from mml_samples import Batch, Graph, atom_counts, graph_of, structure_index
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from mml_tasks.base import BaseTaskModule
from mml_tasks.batches import find_target, private_copy, sample_of_row, sum_by_structure
from mml_tasks.encoder import embed
from mml_tasks.losses.loss_terms import labeled
from mml_tasks.normalization.scale_rules import EnergyRules
from mml_tasks.trainer.compiled import compiled_part


class ForceRegressionTask(BaseTaskModule):
    r"""Learn energies and forces, and optionally stress, from one energy function.

    A head maps the embedding of each atom to a node energy :math:`e_i` in normalized units. The outputs are

    .. math::

        E = s \sum_i e_i + \sum_i m, \qquad F = -\partial E / \partial r, \qquad
        \sigma = \frac{1}{V} \partial E / \partial \varepsilon

    with one energy scale :math:`s` (eV) and a shift :math:`m` per atom. The energy is therefore extensive,
    and the forces are its exact derivatives. The strain acts on positions, offsets and cell,
    :math:`r \to r (1 + \varepsilon)` with symmetric :math:`\varepsilon`. The stress has ASE's sign. Knuth
    et al., Comput. Phys. Commun. 190, 33 (2015), give the derivation.

    The loss of the energy is computed per atom, from ``(E - sum(m)) / s / N``, so that large structures do
    not dominate. The loss of the forces is computed over all components in units of the same :math:`s`, the
    loss of the stress in units of ``stress_std`` (eV/angstrom^3).

    Parameters
    ----------
    encoder
        See `BaseTaskModule`. The encoder must compute edge vectors from ``graph.pos`` and ``graph.offsets``.
    compute_stress
        Whether to predict ``stress`` [B, 3, 3]. It is NaN, which means missing, for structures without a
        periodic volume: molecules, and slabs and wires whose cell has fewer than three lattice vectors.
    **kwargs
        See `BaseTaskModule`. ``task_keys`` defaults to energy and force, and to stress as well if
        ``compute_stress`` is True. ``normalize_kwargs`` accepts one shift, one scale and ``stress_std``. The
        shift is ``energy_per_atom_mean``, or ``energy_mean``, which is a shift of the whole structure for
        data sets in which all structures have the same atoms. The scale is one of ``energy_per_atom_std``,
        ``energy_std`` and ``force_std``. With ``"auto"``, the shift is the mean energy per atom. The scale is
        the root mean square of the forces, or the standard deviation of the energy per atom if the data have
        no forces.

    Notes
    -----
    The task enables gradients internally, also under ``torch.no_grad`` and ``torch.inference_mode``. The
    outputs are differentiable if the caller has enabled gradients. The caller's batch is not modified.
    """

    extensive_keys: ClassVar[frozenset[str]] = frozenset({"energy"})
    progress_keys: ClassVar[tuple[str, ...]] = ("energy", "force")
    reductions: ClassVar[tuple[str, ...]] = ("sum",)

    def __init__(
        self, encoder: torch.nn.Module | None = None, *, compute_stress: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(encoder, **kwargs)
        self.compute_stress = compute_stress
        self.save_hyperparameters({"compute_stress": compute_stress})
        known = EnergyRules(compute_stress).keys
        keys = known if self.hparams["task_keys"] is None else self.hparams["task_keys"]
        for key in keys:
            if key not in known:
                remedy = ". Set compute_stress=True" if key == "stress" else ""
                raise ValueError(f"ForceRegressionTask cannot learn {key!r}, expected one of {known}{remedy}")
        self.set_task_keys(keys)

    def head_keys(self, task_keys: Sequence[str]) -> list[str]:
        """Return ``["energy"]``: forces and stress are derivatives of the energy and have no heads."""
        return ["energy"]

    def scale_rules(self, task_keys: Sequence[str]) -> EnergyRules:
        """Return rules for all outputs of the task, including those that are not targets."""
        return EnergyRules(self.compute_stress)

    def on_train_start(self) -> None:
        """Raise an error if FSDP shards parameters, for which torch has no second derivatives.

        Raises
        ------
        ValueError
            If FSDP shards the task or a part of it.
        """
        super().on_train_start()
        if isinstance(self.trainer.strategy, FSDPStrategy) or any(
            isinstance(module, FSDPModule) for module in self.modules()
        ):
            raise ValueError(
                "a loss of forces needs second derivatives, which parameters sharded by FSDP do not have. "
                "Train with strategy='ddp', or use GradFreeForceRegressionTask"
            )

    def check_batch(self, batch: Batch) -> None:
        """Check targets, and check that structures without a volume have no stress label."""
        super().check_batch(batch)
        if "stress" in (self.task_keys or []) and not self.trainer.predicting:
            _check_stress_labels(batch)

    def node_energies(self, batch: Batch) -> Tensor:
        """Return each atom's share of the energy, [N, 1] in eV; the shares of a structure sum to its energy.

        Only the sum is physically meaningful. The way in which a model divides it among the atoms is
        arbitrary.
        """
        self.normalization.check_elements(batch)
        graph = graph_of(batch)
        return self.normalizers.of("energy").denorm_nodes(
            self._node_energies(batch), atom_counts(graph), graph.atomic_numbers
        )

    def training_outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the outputs to learn, in the units of the loss; no forces if only energies are learned."""
        if self.task_keys != ["energy"]:
            return self.normalized_outputs(batch)
        return {"energy": sum_by_structure(self._node_energies(batch), graph_of(batch))}

    def normalized_outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return energy [B, 1], force [N, 3] and, if computed, stress [B, 3, 3] in the units of the loss.

        Raises
        ------
        ValueError
            If a part of the task is compiled and training needs gradients of the outputs.
        """
        differentiable = torch.is_grad_enabled()
        if differentiable and self.training:
            _refuse_compiled(self)
        with torch.inference_mode(False), torch.enable_grad():
            batch = private_copy(batch)
            graph = graph_of(batch)
            wrt = [_track_positions(graph)]
            if self.compute_stress:
                wrt.append(_track_strain(graph))
            energy = sum_by_structure(self._node_energies(batch), graph)
            gradients = _gradients(energy, wrt, differentiable)
            outputs = {"energy": energy, "force": -gradients[0]}
            if self.compute_stress:
                scale = self.normalizers.of("energy").std / self.normalizers.of("stress").std
                has_volume = has_periodic_volume(graph).view(-1, 1, 1)
                # Not divided by zero, because the gradient of the unused quotient would be NaN.
                volumes = torch.where(has_volume, _volumes(graph).view(-1, 1, 1), 1.0)
                outputs["stress"] = torch.where(has_volume, gradients[1] / volumes * scale, torch.nan)
        return outputs if differentiable else {key: value.detach() for key, value in outputs.items()}

    def _node_energies(self, batch: Batch) -> Tensor:
        """Return the atoms' energies in the units of the loss, [N, 1], in single precision or higher."""
        energies = self.output_heads["energy"](embed(self.encoder, batch, "point_embedding"))
        return energies.to(torch.promote_types(energies.dtype, torch.float32))


def _volumes(graph: Graph) -> Tensor:
    """Return the volume of each structure's cell, [B] in angstrom^3."""
    return torch.linalg.det(graph.cell.detach().view(-1, 3, 3)).abs()


def has_periodic_volume(graph: Graph) -> Tensor:
    """Return which structures have a stress, [B] bool: periodic structures whose cell has a volume."""
    volumes = _volumes(graph)
    box = graph.cell.detach().view(-1, 3, 3).norm(dim=-1).prod(dim=-1)
    # In float32, rounding leaves a flat cell a volume of about 1e-7 of the box with the same edge lengths.
    found = torch.isfinite(volumes) & (volumes > 1e-5 * box)
    pbc = getattr(graph, "pbc", None)
    return found if pbc is None else found & pbc.view(-1, 3).any(dim=1)


def _check_stress_labels(batch: Batch) -> None:
    graph = graph_of(batch)
    if getattr(graph, "cell", None) is None:
        return  # `_track_strain` raises the error
    labels = find_target(batch, "stress")
    has_volume = has_periodic_volume(graph)
    if labels.shape[0] != has_volume.shape[0]:
        return  # `align_target` raises the error
    bad = labeled(labels).flatten(1).any(1) & ~has_volume.to(labels.device)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"{sample_of_row(labels, row, batch)} has a label of the stress, but no stress, because its "
            f"periodic cell has no volume ({_volumes(graph)[row].item():g} angstrom^3). Set the label to NaN"
        )


def _track_positions(graph: Graph) -> Tensor:
    """Replace the positions of the graph by a leaf tensor that requires gradients, and return that tensor."""
    pos = getattr(graph, "pos", None)
    if pos is None:
        raise ValueError(
            "the graph of the batch has no 'pos', which forces are derivatives with respect to. Create "
            "graphs with a transform that keeps the positions"
        )
    if not pos.is_floating_point():
        raise ValueError(f"'pos' of the graph must have a floating-point dtype, got {pos.dtype}")
    graph.pos = pos.detach().requires_grad_()
    return graph.pos


def _track_strain(graph: Graph) -> Tensor:
    """Apply a zero strain to positions, offsets and cell, and return the strain, [B, 3, 3]."""
    for name in ("cell", "offsets"):
        if getattr(graph, name, None) is None:
            raise ValueError(
                f"the graph of the batch has no {name!r}, which the stress requires. Create graphs with "
                "PeriodicPropertiesTransform, or set compute_stress=False"
            )
    index = structure_index(graph)
    strain = graph.pos.new_zeros(atom_counts(graph).shape[0], 3, 3, requires_grad=True)
    symmetric = (strain + strain.mT) / 2
    strained = torch.einsum("ni,nij->nj", graph.pos, symmetric[index])
    graph.offsets = graph.offsets + torch.einsum(
        "ei,eij->ej", graph.offsets, symmetric[index[graph.edge_index[0]]]
    )
    graph.cell = graph.cell.view(-1, 3, 3)
    graph.cell = graph.cell + graph.cell @ symmetric
    graph.pos = graph.pos + strained
    return strain


def _refuse_compiled(task: torch.nn.Module) -> None:
    """Raise an error if a part of the task is compiled: its second derivatives may be wrong."""
    part = compiled_part(task)
    if part is not None:
        raise ValueError(
            f"{part} is compiled, but a loss of forces needs second derivatives, which compiled code may "
            "lack or compute incorrectly without an error. Train without torch.compile, and compile only for "
            "prediction"
        )


def _gradients(energy: Tensor, wrt: Sequence[Tensor], differentiable: bool) -> list[Tensor]:
    """Return the derivatives of the summed energy with respect to each tensor of ``wrt``."""
    found: Sequence[Tensor | None] = [None] * len(wrt)
    if energy.requires_grad:
        found = torch.autograd.grad(energy.sum(), wrt, create_graph=differentiable, allow_unused=True)
    gradients = [gradient for gradient in found if gradient is not None]
    if len(gradients) < len(wrt):
        raise ValueError(
            "the energy does not depend on 'pos' of the graph. The encoder must compute edge vectors from "
            "'pos' and 'offsets' instead of reading stored distances"
        )
    return gradients
