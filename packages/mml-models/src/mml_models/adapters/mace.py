"""Encoders that wrap the models of mace-torch."""

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
from mml_models.encoder import positive
from mml_models.layers.edges import Edges
from mml_models.optional import quiet

Output = Literal["features", "energy"]


class MACE(Adapter):
    """MACE of Batatia et al. 2022 (arXiv 2206.07697), as implemented in mace-torch.

    By default, the embedding of an atom consists of the scalar features of all layers, which are invariant
    under rotations. The model's readouts are then not trained. With ``output="energy"``, the embedding is the
    energy of the atom in eV, including the energy of its element. Use this option to run a pretrained model
    unchanged.

    Use `from_file` or `from_model` to make an encoder from a pretrained model. This encoder does not support
    `torch.compile` or autocast, because of the scripted functions of e3nn. Its tests skip the corresponding
    checks of `mml_models.testing.check_encoder`.

    Parameters
    ----------
    hidden_irreps
        Irreps of the messages, in the notation of e3nn: the number of channels of each symmetry.
    num_conv
        Number of layers, `num_interactions` in mace-torch.
    num_radial
        Number of radial functions, `num_bessel` in mace-torch.
    max_ell
        Largest degree of the spherical harmonics of the edges.
    correlation
        Correlation order: number of neighbors that a message depends on simultaneously.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    num_polynomial_cutoff
        Power of the polynomial envelope.
    avg_num_neighbors
        Average number of neighbors, by which sums over neighbors are divided.
    interaction, first_interaction
        Names of the layer classes of mace-torch.
    mlp_irreps
        Irreps of the last readout, in the notation of e3nn.
    atomic_energies
        Energies of isolated atoms, one per element in ascending order of atomic number, eV. None sets them to
        zero.
    output
        Content of the embeddings: "features" (default) or "energy".
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".
    elements
        Accepted atomic numbers. None accepts 1 to 89. The number of parameters grows with the number of
        elements, so pass the elements of your data set.
    mace_kwargs
        Additional keyword arguments of mace-torch's model class.
    weights
        Path of a local file with the state_dict of mace-torch's model. None leaves the weights random.

    Raises
    ------
    ImportError
        If mace-torch is not installed.
    ValueError
        If a size is not positive, an option is invalid, or the weights do not match the model.
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
        ElementTypes(numbers)  # raises an error for invalid atomic numbers
        energies = [0.0] * len(numbers) if atomic_energies is None else list(atomic_energies)
        if len(energies) != len(numbers):
            raise ValueError(
                f"atomic_energies must have one number per element {numbers}, got {len(energies)} numbers"
            )
        modules = self.import_module("modules")
        irreps = self.import_module("modules.models").o3.Irreps
        classes = {}
        for role, name in (("interaction", interaction), ("first_interaction", first_interaction)):
            if name not in modules.interaction_classes:
                known = ", ".join(modules.interaction_classes)
                raise ValueError(f"{role} must be one of {known}, got {name!r}")
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
        """Make an encoder from a model of mace-torch. The model is not copied.

        Parameters
        ----------
        model
            A `MACE` or `ScaleShiftMACE` of mace-torch.
        output, reduction
            See `MACE`.
        head
            Name of the head that predicts the energies. Required if `output` is "energy" and the model has
            several heads.

        Raises
        ------
        TypeError
            If `model` is not a model of the expected class.
        ValueError
            If an option is invalid.
        """
        known = getattr(cls.import_module("modules"), cls.model_class)
        if not isinstance(model, known):
            raise TypeError(f"{cls.__name__} wraps a {known.__name__} of mace-torch, got a {_name(model)}")
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
        """Make an encoder from a model that mace-torch saved to a local file.

        These files are pickles, which can execute arbitrary code when they are loaded. Pass
        ``trust_pickle=True`` only if you trust the source of the file. Loading a state_dict through the
        `weights` argument of the class does not execute code.

        Parameters
        ----------
        path
            Path of the file.
        output, reduction, head
            See `from_model`.
        trust_pickle
            Whether to load the pickle.

        Raises
        ------
        TypeError
            If the file does not contain a model of the expected class.
        ValueError
            If `trust_pickle` is False, the file is damaged, or an option is invalid.
        """
        if not trust_pickle:
            raise ValueError(
                f"{path} is a pickle, which can run any code when it is loaded. Pass trust_pickle=True if "
                "you trust its source, or pass a file with the state_dict of the model as weights."
            )
        cls.import_module("modules")
        try:
            with quiet():
                model = torch.load(path, map_location="cpu", weights_only=False)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(f"{path} is not a torch file or is damaged: {error}") from error
        return cls.from_model(model, output, reduction, head)

    def _wrap(self, model: Any, output: Output, reduction: Literal["sum", "mean"], head: str | None) -> None:
        if output not in ("features", "energy"):
            raise ValueError(f"output must be 'features' or 'energy', got {output!r}")
        heads = list(getattr(model, "heads", ["Default"]))
        if head not in (None, *heads) or (head is None and output == "energy" and len(heads) > 1):
            raise ValueError(f"head must be one of {', '.join(heads)}, got {head!r}")
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
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        num_atoms, vectors = len(atomic_numbers), edges.vectors
        one_hot = vectors.new_zeros(num_atoms, len(self.model.atomic_numbers))
        found = self.model(
            {
                # All atoms are at the origin, so the edge vectors that MACE computes equal ours.
                "positions": vectors.new_zeros(num_atoms, 3),
                "shifts": -vectors,
                "edge_index": torch.stack((edges.neighbor, edges.center)),
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
    """MACE with scaled and shifted energies, the model class of most pretrained models.

    Parameters
    ----------
    atomic_inter_scale, atomic_inter_shift
        Factor and offset (eV) that are applied to the energy of each atom without the energy of its element.
    options
        Arguments of `MACE`.
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
