"""SchNet: convolutions over neighbors with filters that are learned functions of the distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mml_models.elements import ElementEmbedding
from mml_models.encoder import GraphEncoder, positive
from mml_models.layers.activations import ShiftedSoftplus
from mml_models.layers.convolution import convolve
from mml_models.layers.edges import Edges, GaussianBasis, cosine_envelope
from mml_models.layers.pairs import Pairs, find_pairs


class SchNet(GraphEncoder):
    """SchNet of Schuett et al. 2017 (arXiv 1706.08566) on periodic edges.

    A block with Gaussians ``g`` of the distance computes::

        W_ij = phi_w(g(d_ij)) u(d_ij)
        h_i <- h_i + phi_h(sum_j (A h_j) * W_ij)

    The envelope ``u = (cos(pi d / cutoff) + 1) / 2`` and its derivative are zero at the cutoff. Each filter W
    is computed once for the two opposite edges of a pair of atoms.

    Parameters
    ----------
    hidden_dim
        Width of the atom vectors and the filters.
    output_dim
        Length of the embedding vectors.
    num_conv
        Number of interaction blocks.
    num_gaussians
        Number of Gaussians in the expansion of a distance.
    cutoff
        Cutoff radius, angstrom. Edges of this length or longer contribute nothing.
    num_atom_embedding
        Largest atomic number that can be embedded.
    reduction
        Pooling of the atoms into `system_embedding`: "sum" or "mean".
    elements
        Accepted atomic numbers. None accepts 1 to `num_atom_embedding`.

    Raises
    ------
    ValueError
        If a size is not positive or an option is invalid.
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
        super().__init__(
            output_dim, cutoff, reduction, ElementEmbedding(hidden_dim, num_atom_embedding, elements)
        )
        self.receptive_field = num_conv * self.cutoff
        self.basis = GaussianBasis(num_gaussians, self.cutoff)
        self.blocks = nn.ModuleList(SchNetBlock(hidden_dim, num_gaussians) for _ in range(num_conv))
        self.readout = _two_layers(hidden_dim, hidden_dim, output_dim)

    def embed_atoms(self, atomic_numbers: Tensor, edges: Edges) -> Tensor:
        """Embed N atoms from `atomic_numbers` [N] and the edges within the cutoff -> [N, output_dim]."""
        pairs = find_pairs(edges)
        distances = pairs.first(edges.distances)
        gaussians = self.basis(distances)
        envelope = cosine_envelope(distances, self.cutoff).unsqueeze(-1)
        h = self.elements(atomic_numbers)
        for block in self.blocks:
            h = block(h, gaussians, envelope, edges, pairs)
        points: Tensor = self.readout(h)
        return points


class SchNetBlock(nn.Module):
    """One interaction block of `SchNet`, for N atoms and P pairs."""

    def __init__(self, hidden_dim: int, num_gaussians: int) -> None:
        super().__init__()
        self.filter = _two_layers(num_gaussians, hidden_dim, hidden_dim)
        self.mix = nn.Linear(hidden_dim, hidden_dim, bias=False)
        nn.init.xavier_uniform_(self.mix.weight)
        self.update = _two_layers(hidden_dim, hidden_dim, hidden_dim)

    def forward(self, h: Tensor, gaussians: Tensor, envelope: Tensor, edges: Edges, pairs: Pairs) -> Tensor:
        """Return the updated atom vectors `h` [N, F], given `gaussians` [P, K] and `envelope` [P, 1]."""
        filters = self.filter(gaussians) * envelope
        received = convolve(self.mix(h).unsqueeze(1), filters.unsqueeze(1), edges, pairs).squeeze(1)
        updated: Tensor = h + self.update(received)
        return updated


def _two_layers(width_in: int, width: int, width_out: int) -> nn.Sequential:
    layers = (nn.Linear(width_in, width), nn.Linear(width, width_out))
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], ShiftedSoftplus(), layers[1])
