"""Renumber the atoms and sort the edges of a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mml_samples import Sample, optional_module

from mml_graphs._repr import pasteable_repr
from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.transforms._errors import naming
from mml_graphs.transforms._rewiring import Rewiring, graph_of, rewired_sample

NODE_ALGORITHMS = (None, "rcmk", "custom")
EDGE_ALGORITHMS = ("src", "dst", "custom")


class GraphReordering:
    """Renumber the atoms of a graph and sort its edges, for locality in memory.

    The graph gets ``node_order`` [N] and ``edge_order`` [E], the previous indices: atom i had the index
    ``node_order[i]``, and edge i had the index ``edge_order[i]``. Arrays and targets of the sample with one
    row per atom or edge are reordered in the same way.

    Parameters
    ----------
    node_algo
        Order of the atoms. ``None`` keeps the order. ``"rcmk"`` is the reverse Cuthill-McKee ordering of
        SciPy, which places neighbors near each other. ``"custom"`` uses ``nodes_perm``.
    edge_algo
        Order of the edges. ``"src"`` and ``"dst"`` sort by source or destination and keep the order of ties.
        ``"custom"`` uses ``edges_perm``.
    nodes_perm, edges_perm
        Permutations for ``"custom"``: element i is the previous index of atom or edge i.

    Raises
    ------
    ValueError
        If an ordering is unknown, or is not a permutation of the graph's atoms or edges. The message names
        the sample.
    """

    is_random = False

    def __init__(
        self,
        node_algo: str | None = None,
        edge_algo: str = "src",
        nodes_perm: Sequence[int] | None = None,
        edges_perm: Sequence[int] | None = None,
    ) -> None:
        if node_algo == "metis":
            raise ValueError(
                "node_algo 'metis' is not supported, because its partitions differ from run to run and only "
                "DGL has it. Use 'rcmk'."
            )
        if node_algo not in NODE_ALGORITHMS:
            raise ValueError(
                f"node_algo must be one of {', '.join(map(repr, NODE_ALGORITHMS))}, got {node_algo!r}"
            )
        if edge_algo not in EDGE_ALGORITHMS:
            raise ValueError(
                f"edge_algo must be one of {', '.join(map(repr, EDGE_ALGORITHMS))}, got {edge_algo!r}"
            )
        self.node_algo = node_algo
        self.edge_algo = edge_algo
        self.nodes_perm = _given("nodes_perm", nodes_perm, node_algo == "custom")
        self.edges_perm = _given("edges_perm", edges_perm, edge_algo == "custom")

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with a renumbered graph."""
        with naming(sample):
            data = graph_of(sample)
            num_atoms, num_edges = data.num_nodes, data.num_edges
            nodes = self._node_order(data, num_atoms)
            rank = torch.empty_like(nodes)
            rank[nodes] = torch.arange(num_atoms, device=nodes.device)
            src, dst = rank[data.src], rank[data.dst]
            if self.edge_algo == "custom":
                edges = _permutation("edges_perm", self.edges_perm, num_edges).to(src.device)
            else:
                edges = torch.argsort(src if self.edge_algo == "src" else dst, stable=True)
            rewiring = Rewiring(
                nodes=lambda _, rows: rows[nodes],
                edges=lambda _, rows: rows[edges],
                src=src[edges],
                dst=dst[edges],
                num_atoms=num_atoms,
            )
            # The rows 0, 1, ... are reordered like all others, so they become the orderings.
            numbered = data._replace(
                nodes={**data.nodes, "node_order": torch.arange(num_atoms, device=src.device)},
                edges={**data.edges, "edge_order": torch.arange(num_edges, device=src.device)},
            )
            return rewired_sample(sample, numbered, rewiring)

    def _node_order(self, data: GraphData, num_atoms: int) -> torch.Tensor:
        if self.node_algo == "custom":
            return _permutation("nodes_perm", self.nodes_perm, num_atoms).to(data.src.device)
        if self.node_algo is None or not len(data.src):
            return torch.arange(num_atoms, device=data.src.device)
        sparse, csgraph = (
            optional_module(name, "scipy", "node_algo 'rcmk'")
            for name in ("scipy.sparse", "scipy.sparse.csgraph")
        )
        src, dst = data.src.cpu().numpy(), data.dst.cpu().numpy()
        adjacency = sparse.coo_array(
            (np.ones(len(src), dtype=np.float32), (src, dst)), shape=(num_atoms, num_atoms)
        )
        order = csgraph.reverse_cuthill_mckee((adjacency + adjacency.T).tocsr(), symmetric_mode=True)
        return torch.tensor(order.astype(np.int64), device=data.src.device)

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _given(argument: str, order: Sequence[int] | None, wanted: bool) -> tuple[int, ...] | None:
    if wanted != (order is not None):
        raise ValueError(f"{argument} and the algorithm 'custom' require each other. Pass both or neither.")
    return None if order is None else tuple(int(index) for index in order)


def _permutation(argument: str, order: Sequence[int] | None, size: int) -> torch.Tensor:
    if order is None or sorted(order) != list(range(size)):
        raise ValueError(f"{argument} must be a permutation of the {size} rows of the graph")
    return torch.tensor(order, dtype=torch.int64)
