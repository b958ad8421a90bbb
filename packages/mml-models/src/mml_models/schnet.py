"""SchNet: continuous-filter convolutions, as PyG implements them, on the edges of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mml_models._pyg import pyg_schnet
from mml_models.edges import Edges
from mml_models.elements import ElementEmbedding
from mml_models.encoder import GraphEncoder, positive


class SchNet(GraphEncoder):
    """PyG's SchNet (Schuett et al. 2017, arXiv 1706.08566) on the periodic edges of the batch.

    The wrapped model (`net`) gets edges and distances through its `interaction_graph` hook, so that it
    never builds a radius graph; its table of elements and its readout are replaced, so that per-atom
    vectors come out. Its filters carry the envelope ``(cos(pi d / cutoff) + 1) / 2``, which goes to zero
    with its derivative at the cutoff.

    Parameters
    ----------
    hidden_dim
        Width of atom vectors and filters.
    output_dim
        Length of the embeddings.
    num_conv
        Number of interaction blocks.
    num_gaussians
        Number of Gaussians that a distance is expanded in.
    cutoff
        Angstrom; edges as long as this or longer contribute nothing.
    num_atom_embedding
        The largest atomic number that can be embedded.
    reduction
        How atoms are pooled into `system_embedding`: "sum" or "mean".
    elements
        Atomic numbers to accept; all up to `num_atom_embedding` where None.

    Raises
    ------
    ValueError
        Where a size is not positive, or an option is not known.
    """

    def __init__(
        self,
        hidden_dim: int = 64,
        output_dim: int = 64,
        num_conv: int = 3,
        num_gaussians: int = 32,
        cutoff: float = 5.0,
        num_atom_embedding: int = 100,
        reduction: Literal["sum", "mean"] = "sum",
        elements: Sequence[int] | None = None,
    ) -> None:
        positive(hidden_dim=hidden_dim, output_dim=output_dim, num_conv=num_conv)
        positive(num_atom_embedding=num_atom_embedding)
        if num_gaussians < 2:
            raise ValueError(f"num_gaussians is {num_gaussians}: give at least 2.")
        super().__init__(
            output_dim, cutoff, reduction, ElementEmbedding(hidden_dim, num_atom_embedding, elements)
        )
        net = pyg_schnet()(
            hidden_channels=hidden_dim,
            num_filters=hidden_dim,
            num_interactions=num_conv,
            num_gaussians=num_gaussians,
            cutoff=self.cutoff,
            interaction_graph=_GivenEdges(),
        )
        net.embedding = nn.Identity()
        net.lin1 = nn.Linear(hidden_dim, hidden_dim)
        net.lin2 = nn.Linear(hidden_dim, output_dim)
        net.readout = _KeepAtoms()
        self.net = net

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed atoms: `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        # PyG hands `z` to the embedding only, `pos` to the hook, `batch` to the hook and the readout, which
        # are all ours: the edges travel in the place of `pos`, and no state is kept between calls.
        points: Tensor = self.net(self.elements(atomic_numbers), edges, atomic_numbers)
        return points


class _GivenEdges(nn.Module):
    """Stands where PyG's SchNet builds its radius graph, handing on the edges that came as `pos`."""

    def forward(self, edges: Edges, _: Tensor) -> tuple[Tensor, Tensor]:
        """Return the edges in PyG's order, which sums messages at the second row, and their distances."""
        return edges.index_to_centre(), edges.distances


class _KeepAtoms(nn.Module):
    """Stands where PyG's SchNet sums over atoms, and leaves them as they are."""

    def forward(self, points: Tensor, _: Tensor, dim: int) -> Tensor:
        """Return `points` [N, D]."""
        return points
