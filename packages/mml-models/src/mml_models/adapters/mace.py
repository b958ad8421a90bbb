"""MACE of mace-torch on the edges of the batch."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from mml_models.adapters.adapter import Adapter
from mml_models.adapters.element_types import ElementTypes
from mml_models.adapters.irreps import scalar_columns
from mml_models.adapters.weights import load_weights
from mml_models.edges import Edges
from mml_models.encoder import positive
from mml_models.optional import quiet

Output = Literal["features", "energy"]


class MACE(Adapter):
    """MACE of Batatia et al. 2022 (arXiv 2206.07697): the model of mace-torch.

    Embeddings are the scalars of each layer, one layer after the other, which do not turn with the crystal;
    or, with ``output="energy"``, the energy of each atom, that of its element included, so that a pretrained
    model can be used as it is. Where they are the scalars, the model's readouts are not trained.

    `from_file` and `from_model` make an encoder of a model that others trained. e3nn's scripted functions
    cannot be traced by `torch.compile`, nor run under autocast: the suite's checks of these are left out.

    Parameters
    ----------
    hidden_irreps
        Channels of the messages by their symmetry, in the notation of e3nn.
    num_conv
        Number of layers; `num_interactions` of mace-torch.
    num_radial
        Number of radial functions; `num_bessel` of mace-torch.
    max_ell
        Largest degree of the spherical harmonics of an edge.
    correlation
        How many neighbours a message depends on at once.
    cutoff
        Angstrom; edges as long as this or longer contribute nothing.
    num_polynomial_cutoff
        Power of the envelope.
    avg_num_neighbors
        What sums over neighbours are divided by.
    interaction, first_interaction
        Names of mace-torch's classes of layers.
    mlp_irreps
        Channels of the last readout.
    atomic_energies
        Energy of an atom of each of `elements`, eV; zero where None.
    output
        "features" or "energy".
    reduction
        How atoms are pooled into `system_embedding`: "sum" or "mean".
    elements
        Atomic numbers to accept; 1 to 89 where None. Parameters grow with their number: give those of the
        data.
    mace_kwargs
        Further arguments of mace-torch's class.
    weights
        A local file with the state_dict of mace-torch's model; weights are random where None.

    Raises
    ------
    ImportError
        Where mace-torch is not installed.
    ValueError
        Where a size is not positive, an option is not known, or the weights do not fit.
    """

    library = "mace"
    extra = "mace"
    model_class: ClassVar[str] = "MACE"

    def __init__(
        self,
        hidden_irreps: str = "64x0e + 64x1o",
        num_conv: int = 2,
        num_radial: int = 8,
        max_ell: int = 3,
        correlation: int = 3,
        cutoff: float = 5.0,
        num_polynomial_cutoff: int = 5,
        avg_num_neighbors: float = 20.0,
        interaction: str = "RealAgnosticResidualInteractionBlock",
        first_interaction: str = "RealAgnosticResidualInteractionBlock",
        mlp_irreps: str = "16x0e",
        atomic_energies: Sequence[float] | None = None,
        output: Output = "features",
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
        mace_kwargs: dict[str, Any] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        positive(num_conv=num_conv, num_radial=num_radial, correlation=correlation, max_ell=max_ell)
        numbers = sorted(set(range(1, 90) if elements is None else elements))
        ElementTypes(numbers)  # refuses what is no element
        energies = [0.0] * len(numbers) if atomic_energies is None else list(atomic_energies)
        if len(energies) != len(numbers):
            raise ValueError(f"atomic_energies has {len(energies)} numbers: give one for each of {numbers}.")
        modules = self.import_module("modules")
        irreps = self.import_module("modules.models").o3.Irreps
        classes = {}
        for role, name in (("interaction", interaction), ("first_interaction", first_interaction)):
            if name not in modules.interaction_classes:
                known = ", ".join(modules.interaction_classes)
                raise ValueError(f"{role} is {name!r}: mace-torch has {known}.")
            classes[role] = modules.interaction_classes[name]
        with quiet():
            model = getattr(modules, self.model_class)(
                r_max=float(cutoff),
                num_bessel=num_radial,
                num_polynomial_cutoff=num_polynomial_cutoff,
                max_ell=max_ell,
                interaction_cls=classes["interaction"],
                interaction_cls_first=classes["first_interaction"],
                num_interactions=num_conv,
                num_elements=len(numbers),
                hidden_irreps=irreps(hidden_irreps),
                MLP_irreps=irreps(mlp_irreps),
                atomic_energies=torch.tensor(energies, dtype=torch.get_default_dtype()).numpy(),
                avg_num_neighbors=avg_num_neighbors,
                atomic_numbers=numbers,
                correlation=correlation,
                gate=nn.functional.silu,
                **(mace_kwargs or {}),
            )
        if weights is not None:
            load_weights(model, weights)
        self._wrap(model, output, reduction, None)

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        output: Output = "features",
        reduction: Literal["sum", "mean"] = "sum",
        head: str | None = None,
    ) -> Self:
        """Make an encoder of a model of mace-torch, which is not copied.

        Parameters
        ----------
        model
            A `MACE` or `ScaleShiftMACE` of mace-torch.
        output, reduction
            As of the class.
        head
            Which of the model's heads gives energies; needed where it has more than one.

        Raises
        ------
        TypeError
            Where `model` is another thing.
        ValueError
            Where an option is not known.
        """
        known = getattr(cls.import_module("modules"), cls.model_class)
        if not isinstance(model, known):
            raise TypeError(
                f"{cls.__name__} is made of a {known.__name__} of mace-torch, not of a {_name(model)}."
            )
        encoder = cls.__new__(cls)
        encoder._wrap(model, output, reduction, head)
        return encoder

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        output: Output = "features",
        reduction: Literal["sum", "mean"] = "sum",
        head: str | None = None,
        *,
        trust_pickle: bool = False,
    ) -> Self:
        """Make an encoder of a model that mace-torch saved to a local file.

        Such files are pickles, which can run any code when they are loaded: say with `trust_pickle` that you
        know where it is from. What runs no code is a state_dict, for `weights` of the class.

        Raises
        ------
        ValueError
            Where `trust_pickle` was not given, or the file holds something else.
        """
        if not trust_pickle:
            raise ValueError(
                f"{path} is a pickle, which can run any code when it is loaded: give trust_pickle=True if "
                "you trust where it is from, or a file with its state_dict to weights."
            )
        cls.import_module("modules")
        try:
            with quiet():
                model = torch.load(path, map_location="cpu", weights_only=False)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(f"{path} is not a file of torch, or is damaged: {error}") from error
        return cls.from_model(model, output, reduction, head)

    def _wrap(self, model: Any, output: Output, reduction: Literal["sum", "mean"], head: str | None) -> None:
        if output not in ("features", "energy"):
            raise ValueError(f"output is {output!r}: give 'features' or 'energy'.")
        heads = list(getattr(model, "heads", ["Default"]))
        if head not in (None, *heads) or (head is None and output == "energy" and len(heads) > 1):
            raise ValueError(f"head is {head!r}: the model has {', '.join(heads)}.")
        numbers = model.atomic_numbers.tolist()
        columns = scalar_columns([product.linear.irreps_out for product in model.products])
        width = 1 if output == "energy" else len(columns)
        super().__init__(width, float(model.r_max), reduction, ElementTypes(numbers))
        self.output = output
        self.head = 0 if head is None else heads.index(head)
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.model = model
        if output == "features":
            for name in ("readouts", "embedding_readout"):
                if hasattr(model, name):
                    getattr(model, name).requires_grad_(False)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed atoms: `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        num_atoms, vectors = len(atomic_numbers), edges.vectors
        one_hot = vectors.new_zeros(num_atoms, len(self.model.atomic_numbers))
        found = self.model(
            {
                # All atoms at one place: its edge vectors are then the shifts alone, which are ours.
                "positions": vectors.new_zeros(num_atoms, 3),
                "shifts": -vectors,
                "edge_index": torch.stack((edges.neighbour, edges.centre)),
                "node_attrs": one_hot.scatter(1, self.elements(atomic_numbers).unsqueeze(1), 1.0),
                "cell": vectors.new_zeros(3, 3),
                "batch": torch.zeros_like(atomic_numbers),
                "ptr": atomic_numbers.new_tensor([0, num_atoms]),
                "head": atomic_numbers.new_tensor([self.head]),
            },
            compute_force=False,
        )
        if self.output == "energy":
            return found["node_energy"].unsqueeze(-1).to(vectors.dtype)
        return found["node_feats"].index_select(1, self.columns)


class ScaleShiftMACE(MACE):
    """MACE whose energies are scaled and shifted: the class of most pretrained models.

    Parameters
    ----------
    atomic_inter_scale, atomic_inter_shift
        What the energy of an atom, but for that of its element, is multiplied by, and what is added, eV.
    options
        Those of `MACE`.
    """

    model_class: ClassVar[str] = "ScaleShiftMACE"

    def __init__(
        self,
        *,
        atomic_inter_scale: float = 1.0,
        atomic_inter_shift: float = 0.0,
        mace_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        scaling = {"atomic_inter_scale": atomic_inter_scale, "atomic_inter_shift": atomic_inter_shift}
        super().__init__(mace_kwargs={**(mace_kwargs or {}), **scaling}, **options)


def _name(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{type(value).__name__} (a state_dict goes to weights)"
    return type(value).__name__
