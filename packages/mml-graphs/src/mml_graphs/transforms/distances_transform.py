"""Add lengths and reduced masses of edges."""

from __future__ import annotations

import torch
from mml_samples import Sample

from mml_graphs._repr import pasteable_repr
from mml_graphs.graph_parts import graph_parts
from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.sample import with_keys
from mml_graphs.transforms._arrays import positions
from mml_graphs.transforms._edge_geometry import edge_lengths, edge_offsets, reduced_masses
from mml_graphs.transforms._errors import naming
from mml_graphs.transforms._graphs import update_graph
from mml_graphs.transforms._rewiring import tags_of


class DistancesTransform:
    """Add the length and the reduced mass of every edge.

    The graph gets ``r`` [E, 1] and ``distances`` [E], both ``|pos[dst] + offsets - pos[src]|`` in angstrom,
    and ``mu`` [E], the reduced mass of the two atoms in u, from the standard atomic masses of pymatgen. If a
    sample has edges but no graph, the arrays are added to the sample. Super nodes count as infinitely heavy.

    Raises
    ------
    ValueError
        If there are no edges, or an array that the computation needs is missing. The message names the sample
        and the key.
    """

    is_random = False

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with lengths and reduced masses."""
        with naming(sample):
            if "graph" in sample:
                features = edge_features(sample, take_apart(sample["graph"]))
                return {**sample, "graph": update_graph(sample["graph"], edges=lambda _: features)}
            if "src_nodes" not in sample or "dst_nodes" not in sample:
                raise ValueError(
                    "edges are missing, expected a 'graph' or 'src_nodes' and 'dst_nodes'. Apply "
                    "PeriodicPropertiesTransform or PointCloudToGraphTransform before DistancesTransform."
                )
            return with_keys(sample, edge_features(sample, graph_parts(sample)))

    def __repr__(self) -> str:
        return pasteable_repr(self)


def edge_features(sample: Sample, data: GraphData) -> dict[str, torch.Tensor]:
    """Compute ``r``, ``distances`` and ``mu`` of the edges, see `DistancesTransform`.

    Parameters
    ----------
    sample
        Sample from which tags are read if the graph has none.
    data
        Parts of the graph.
    """
    pos = positions(data.nodes)
    if "atomic_numbers" not in data.nodes:
        raise ValueError("the graph has no 'atomic_numbers', which reduced masses require")
    lengths = edge_lengths(pos, data.src, data.dst, edge_offsets(data, pos.dtype))
    masses = reduced_masses(data.nodes["atomic_numbers"], tags_of(sample, data), data.src, data.dst)
    return {"r": lengths[:, None].clone(), "distances": lengths, "mu": masses.to(pos.dtype)}
