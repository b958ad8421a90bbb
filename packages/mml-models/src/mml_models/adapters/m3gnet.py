"""M3GNet of matgl on the edges of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mml_models.adapters.matgl import MatGLAdapter
from mml_models.edges import Edges
from mml_models.encoder import positive


class M3GNet(MatGLAdapter):
    """M3GNet of Chen and Ong 2022 (arXiv 2202.02450): the model of matgl, with angles between neighbours.

    `from_file` and `from_model` make an encoder of a model that others trained.

    Parameters
    ----------
    hidden_dim
        Width of the features of atoms and bonds, of the layers between, and of the embeddings.
    num_conv
        Number of blocks; `nblocks` of matgl.
    max_n, max_l
        Number of radial functions, and of angular ones.
    cutoff
        Angstrom; edges as long as this or longer contribute nothing.
    threebody_cutoff
        Angstrom; edges with angles between them are at most this long.
    use_smooth
        Whether radial functions end with their slope at the cutoff. matgl's own default is not to, and
        forces then jump there.
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

    model_class = "M3GNet"

    def __init__(
        self,
        hidden_dim: int = 64,
        num_conv: int = 3,
        max_n: int = 3,
        max_l: int = 3,
        cutoff: float = 5.0,
        threebody_cutoff: float = 4.0,
        use_smooth: bool = True,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
        matgl_kwargs: dict[str, Any] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, num_conv=num_conv, max_n=max_n, max_l=max_l)
        options = {
            "dim_node_embedding": hidden_dim,
            "dim_edge_embedding": hidden_dim,
            "units": hidden_dim,
            "nblocks": num_conv,
            "max_n": max_n,
            "max_l": max_l,
            "cutoff": cutoff,
            "threebody_cutoff": threebody_cutoff,
            "use_smooth": use_smooth,
            **(matgl_kwargs or {}),
        }
        self._wrap(self._make(elements, options, weights), reduction)

    @staticmethod
    def width(model: Any) -> int:
        """Return the length of the features of atoms."""
        return int(model.embedding.layer_node_embedding.embedding_dim)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed atoms: `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        found = self.run(self.graph(atomic_numbers, edges))
        features: Tensor = found[f"gc_{self.model.n_blocks}"]["node_feat"]
        return features

    @staticmethod
    def unused(model: Any) -> list[Any]:
        """Return the readouts."""
        return [model.final_layer, getattr(model, "readout", None)]

    @staticmethod
    def bonds(edges: Edges) -> tuple[Tensor, Tensor, None]:
        """Return edges from centre to neighbour, sorted by centre."""
        order = edges.centre.argsort(stable=True)
        return torch.stack((edges.centre[order], edges.neighbour[order])), edges.vectors[order], None
