"""Set2Set readout: an attention network that maps a set of vectors to one vector of fixed length."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Set2Set(nn.Module):
    """Set2Set readout of Vinyals et al. 2015 (arXiv 1511.06391), eq. 3 to 7, with weighted members.

    The B sets have M members x in total. In each of `num_steps` steps, an LSTM computes a query q for each
    set from the previous query and answer. The attention a_m of the members then gives the answer::

        a_m = w_m exp(x_m q) / (f + sum over the set of w_n exp(x_n q))
        answer = sum over the set of a_m x_m

    In the paper, the weights w are 1 and f is 0. If the weights are zero at the cutoff and f is positive, the
    result is continuous when an edge appears or disappears, even the last edge of a structure.

    Parameters
    ----------
    dim
        Length F of the vectors of the members.
    num_steps
        Number of queries.
    """

    def __init__(self, dim: int, num_steps: int = 3) -> None:
        super().__init__()
        self.dim = dim
        self.num_steps = num_steps
        self.ask = nn.LSTMCell(2 * dim, dim)

    def forward(self, members: Tensor, owner: Tensor, weights: Tensor, floor: Tensor) -> Tensor:
        """Compute the readout of the sets.

        Parameters
        ----------
        members
            Vectors x of the members, [M, F].
        owner
            Index of the set of each member, [M] int64.
        weights
            Weights w of the members, [M].
        floor
            Constant f in the denominator, one per set, [B].

        Returns
        -------
        Tensor
            The last query and its answer, [B, 2 F].
        """
        num_sets = floor.shape[0]
        read = members.new_zeros(num_sets, 2 * self.dim)
        state = (members.new_zeros(num_sets, self.dim), members.new_zeros(num_sets, self.dim))
        for _ in range(self.num_steps):
            state = self.ask(read, state)
            question = state[0]
            scores = (members * question.index_select(0, owner)).sum(dim=1)
            # Subtracting the largest score does not change the attention, and prevents an overflow of exp.
            largest = scores.new_zeros(num_sets).scatter_reduce(0, owner, scores.detach(), "amax")
            shares = weights * torch.exp(scores - largest.index_select(0, owner))
            total = (floor * torch.exp(-largest)).to(shares.dtype).index_add(0, owner, shares)
            shared = shares.unsqueeze(1) * members
            answers = shared.new_zeros(num_sets, self.dim).index_add(0, owner, shared)
            read = torch.cat((question, answers / total.unsqueeze(1)), dim=1)
        return read
