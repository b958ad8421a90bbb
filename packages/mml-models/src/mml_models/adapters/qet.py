"""QET of matgl on the edges of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor

from mml_models.adapters.matgl import MatGLAdapter
from mml_models.batch import AtomGraph
from mml_models.edges import Edges
from mml_models.encoder import positive


class QET(MatGLAdapter):
    """QET, a TensorNet with charges that equilibrate (Ko et al. 2025, arXiv 2511.07249): the model of matgl.

    Each atom gets an electronegativity; charges minimise a quadratic energy whose sum over the structure is
    zero, so that every atom of a structure knows of all others, and of none in another structure. Embeddings
    are matgl's: the features of TensorNet, the charge and the electrostatic potential of an atom, normalised.

    `from_file` and `from_model` make an encoder of a model that others trained.

    Parameters
    ----------
    hidden_dim
        Width of the features of atoms, `units` of matgl; the embeddings are two numbers longer.
    num_conv
        Number of layers; `nblocks` of matgl.
    num_gaussians
        Number of Gaussians that a distance is expanded in; `num_rbf` of matgl.
    cutoff
        Angstrom; edges as long as this or longer contribute nothing.
    reduction
        How atoms are pooled into `system_embedding`: "sum" or "mean".
    elements
        Atomic numbers to accept; 1 to 89 where None.
    matgl_kwargs
        Further arguments of matgl's class.
    weights
        A local file with the state_dict of matgl's model; weights are random where None.

    Raises
    ------
    ImportError
        Where matgl is not installed.
    ValueError
        Where a size is not positive, an option is not known, or the weights do not fit.
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
            "use_warp": False,  # or it depends on what else is installed which code runs
            **(matgl_kwargs or {}),
        }
        self._wrap(self._make(elements, options, weights), reduction)

    @staticmethod
    def width(model: Any) -> int:
        """Return the length of the features of atoms."""
        return int(model.norm.normalized_shape[0])

    @staticmethod
    def unused(model: Any) -> list[Any]:
        """Return the readout."""
        return [model.final_layer]

    @staticmethod
    def bonds(edges: Edges) -> tuple[Tensor, Tensor, None]:
        """Return edges from centre to neighbour: the potential is summed where they start."""
        return torch.stack((edges.centre, edges.neighbour)), edges.vectors, None

    def embed_graph(self, graph: AtomGraph, edges: Edges) -> Tensor:
        """Embed the N atoms of a batch, whose charges equilibrate in each structure: [N, output_dim]."""
        given = self.graph(graph.atomic_numbers, edges)
        given.batch, given.num_graphs = graph.structure, graph.num_structures
        return self._features(given)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed atoms of one structure: `atomic_numbers` [N] and its edges -> [N, output_dim]."""
        return self._features(self.graph(atomic_numbers, edges))

    def _features(self, graph: SimpleNamespace) -> Tensor:
        features: Tensor = self.run(graph)["node_feat"]
        return features
