"""Encoder that wraps M3GNet of matgl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mml_models.adapters.matgl import MatGLAdapter
from mml_models.encoder import positive
from mml_models.layers.edges import Edges


class M3GNet(MatGLAdapter):
    """M3GNet of Chen and Ong 2022 (arXiv 2202.02450), as implemented in matgl, with angles between neighbors.

    Use `from_file` or `from_model` to make an encoder from a pretrained model.

    Parameters
    ----------
    hidden_dim
        Width of the features of atoms and bonds and of the hidden layers, and length of the embeddings.
    num_conv
        Number of blocks, `nblocks` in matgl.
    max_n, max_l
        Number of radial functions and number of angular functions.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    threebody_cutoff
        Maximum length of the edges between which angles are computed, angstrom.
    use_smooth
        Whether the slope of the radial functions is zero at the cutoff. If False, which is matgl's default,
        forces jump when an edge reaches the cutoff.
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
        """Return the length of the atom features."""
        return int(model.embedding.layer_node_embedding.embedding_dim)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        found = self.run(self.graph(atomic_numbers, edges))
        features: Tensor = found[f"gc_{self.model.n_blocks}"]["node_feat"]
        return features

    @staticmethod
    def unused(model: Any) -> list[Any]:
        """Return the readouts."""
        return [model.final_layer, getattr(model, "readout", None)]

    @staticmethod
    def bonds(edges: Edges) -> tuple[Tensor, Tensor, None]:
        """Return the edges from center to neighbor, sorted by center."""
        order = edges.center.argsort(stable=True)
        return torch.stack((edges.center[order], edges.neighbor[order])), edges.vectors[order], None
