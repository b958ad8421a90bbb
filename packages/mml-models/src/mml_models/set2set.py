"""Set2set: a network that asks a set questions, and reads a vector out of it whose length does not grow."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Set2Set(nn.Module):
    """Read B sets of M members in all: Vinyals et al. 2015 (arXiv 1511.06391), eq. 3 to 7, smooth in weights.

    In each of `num_steps` steps an LSTM asks a question q of each set, from its last question and answer::

        a_m = w_m exp(x_m q) / (f + sum over the set of w_n exp(x_n q))
        answer = sum over the set of a_m x_m

    In the paper weights w are 1 and f is 0. With weights that vanish at the cutoff, and with f above 0, edges
    can come and go, the last one of a structure too, and nothing jumps.

    Parameters
    ----------
    dim
        F, the length of the members' vectors.
    num_steps
        Number of questions.
    """

    def __init__(self, dim: int, num_steps: int = 3) -> None:
        super().__init__()
        self.dim = dim
        self.num_steps = num_steps
        self.ask = nn.LSTMCell(2 * dim, dim)

    def forward(self, members: Tensor, owner: Tensor, weights: Tensor, floor: Tensor) -> Tensor:
        """Read the sets.

        Parameters
        ----------
        members
            x, [M, F].
        owner
            [M] int64, the set that each belongs to.
        weights
            w, [M].
        floor
            f, [B], as many as there are sets.

        Returns
        -------
        Tensor
            [B, 2 F]: the last question and its answer.
        """
        num_sets = floor.shape[0]
        read = members.new_zeros(num_sets, 2 * self.dim)
        state = (members.new_zeros(num_sets, self.dim), members.new_zeros(num_sets, self.dim))
        for _ in range(self.num_steps):
            state = self.ask(read, state)
            question = state[0]
            scores = (members * question.index_select(0, owner)).sum(dim=1)
            # The same fraction whatever is taken off; with the largest score off, nothing overflows.
            largest = scores.new_zeros(num_sets).scatter_reduce(0, owner, scores.detach(), "amax")
            shares = weights * torch.exp(scores - largest.index_select(0, owner))
            total = (floor * torch.exp(-largest)).to(shares.dtype).index_add(0, owner, shares)
            shared = shares.unsqueeze(1) * members
            answers = shared.new_zeros(num_sets, self.dim).index_add(0, owner, shared)
            read = torch.cat((question, answers / total.unsqueeze(1)), dim=1)
        return read
