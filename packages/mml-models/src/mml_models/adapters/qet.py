"""Encoder that wraps QET of matgl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor

from mml_models.adapters.matgl import MatGLAdapter
from mml_models.batch import AtomGraph
from mml_models.encoder import positive
from mml_models.layers.edges import Edges


class QET(MatGLAdapter):
    """QET, a TensorNet with charge equilibration (Ko et al. 2025, arXiv 2511.07249), as implemented in matgl.

    The model predicts an electronegativity for each atom. The charges minimize a quadratic energy, under the
    constraint that they sum to zero in each structure. Every atom therefore depends on all other atoms of its
    structure, but not on atoms of other structures. The embedding of an atom consists of its TensorNet
    features, its charge and its electrostatic potential, normalized by matgl.

    Use `from_file` or `from_model` to make an encoder from a pretrained model.

    Parameters
    ----------
    hidden_dim
        Width of the atom features, `units` in matgl. The embedding vectors have length ``hidden_dim + 2``.
    num_conv
        Number of layers, `nblocks` in matgl.
    num_gaussians
        Number of Gaussians in the expansion of a distance, `num_rbf` in matgl.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".
    elements
        Accepted atomic numbers. None accepts 1 to 89.
    matgl_kwargs
        Additional keyword arguments of matgl's model class. They override the arguments above.
    weights
        Path of a local file with the state_dict of matgl's model. None leaves the weights random.

    Raises
    ------
    ImportError
        If matgl is not installed.
    ValueError
        If a size is not positive, an option is invalid, or the weights do not match the model.
    """

    model_class = "QET"

    def __init__(
        self,
        hidden_dim: int = 64,
        num_conv: int = 2,
        num_gaussians: int = 32,
        cutoff: float = 5.0,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
        matgl_kwargs: dict[str, Any] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, num_conv=num_conv, num_gaussians=num_gaussians)
        options = {
            "units": hidden_dim,
            "nblocks": num_conv,
            "num_rbf": num_gaussians,
            "cutoff": cutoff,
            "use_warp": False,  # otherwise the code path depends on the installed packages
            **(matgl_kwargs or {}),
        }
        self._wrap(self._make(elements, options, weights), reduction)

    @staticmethod
    def width(model: Any) -> int:
        """Return the length of the atom features."""
        return int(model.norm.normalized_shape[0])

    @staticmethod
    def unused(model: Any) -> list[Any]:
        """Return the readout."""
        return [model.final_layer]

    @staticmethod
    def bonds(edges: Edges) -> tuple[Tensor, Tensor, None]:
        """Return the edges from center to neighbor. The model sums the potential at their first atom."""
        return torch.stack((edges.center, edges.neighbor)), edges.vectors, None

    def embed_graph(self, graph: AtomGraph, edges: Edges) -> Tensor:
        """Embed the N atoms of a batch -> [N, output_dim]. Charges equilibrate within each structure."""
        given = self.graph(graph.atomic_numbers, edges)
        given.batch, given.num_graphs = graph.structure, graph.num_structures
        return self._features(given)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed the N atoms of one structure from `atomic_numbers` [N] and its edges -> [N, output_dim]."""
        return self._features(self.graph(atomic_numbers, edges))

    def _features(self, graph: SimpleNamespace) -> Tensor:
        features: Tensor = self.run(graph)["node_feat"]
        return features
