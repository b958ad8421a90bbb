"""Compute features of a whole graph."""

from __future__ import annotations

import torch
from mml_samples import Sample

from mml_graphs._repr import pasteable_repr
from mml_graphs.libraries.graph_data import GraphData
from mml_graphs.sample import with_keys
from mml_graphs.transforms._arrays import positions
from mml_graphs.transforms._edge_geometry import (
    ADSORBATE,
    GRAPH_SUPER_NODE,
    nearest_images,
    periodicity,
)
from mml_graphs.transforms._errors import naming
from mml_graphs.transforms._masses import atomic_masses
from mml_graphs.transforms._rewiring import graph_of, tags_of
from mml_graphs.transforms.com_shift import center_of_mass
from mml_graphs.transforms.distances_transform import edge_features


class GraphVariablesTransform:
    """Add ``graph_variables`` [1, 9], features of a whole graph for models such as MEGNet.

    The features are, in this order:

    - mean and standard deviation of the atomic numbers of the adsorbate;
    - mean and standard deviation of the atomic numbers of the slab;
    - mean and standard deviation of the edge lengths (angstrom);
    - mean and standard deviation of the reduced masses of the edges (u), see `DistancesTransform`;
    - distance from the center of mass of the adsorbate to the nearest periodic image of that of the slab
      (angstrom).

    Atoms with tag 2 in ``tags`` are the adsorbate, all others are the slab. Without ``tags``, all atoms are
    adsorbate. Super nodes are left out, but their edges are included. Undefined values (the standard
    deviation of a single value, or any statistic of an empty group) are 0. Standard deviations are divided by
    N - 1. Centers of mass are computed from the positions as they are stored, so they depend on the stored
    periodic images of the atoms.

    Raises
    ------
    ValueError
        If the sample does not have a graph of one structure, or the graph lacks an array. The message names
        the sample and the key.
    """

    is_random = False

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with the features of its graph."""
        with naming(sample):
            variables = graph_variables(sample, graph_of(sample))
        return with_keys(sample, {"graph_variables": variables.to(torch.get_default_dtype())[None]})

    def __repr__(self) -> str:
        return pasteable_repr(self)


def graph_variables(sample: Sample, data: GraphData) -> torch.Tensor:
    """Compute the nine features of `GraphVariablesTransform`, [9] float64.

    Parameters
    ----------
    sample
        Sample from which tags are read if the graph has none.
    data
        Parts of the graph.
    """
    pos = positions(data.nodes)
    features = edge_features(sample, data)
    numbers = data.nodes["atomic_numbers"]
    tags = tags_of(sample, data)
    if tags is None:
        tags = torch.full_like(numbers, ADSORBATE)
    adsorbate = tags == ADSORBATE
    slab = ~adsorbate & (tags < GRAPH_SUPER_NODE)
    values = [
        *_spread(numbers[adsorbate]),
        *_spread(numbers[slab]),
        *_spread(features["distances"]),
        *_spread(features["mu"]),
        _separation(data, pos, adsorbate, slab),
    ]
    return torch.stack([value.to(pos.device) for value in values])


def _spread(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation, each 0 if there are too few values."""
    exact = values.to(torch.float64)
    nothing = exact.new_zeros(())
    return exact.mean() if len(exact) else nothing, exact.std() if len(exact) > 1 else nothing


def _separation(
    data: GraphData, pos: torch.Tensor, adsorbate: torch.Tensor, slab: torch.Tensor
) -> torch.Tensor:
    if not (adsorbate.any() and slab.any()):
        return torch.zeros((), dtype=torch.float64)
    numbers = data.nodes["atomic_numbers"]
    here, there = (center_of_mass(pos[part], atomic_masses(numbers[part])) for part in (adsorbate, slab))
    cell, pbc = periodicity(data.whole)
    image = nearest_images(here, there[None], cell, pbc)[0].to(here.device)
    shift = image @ torch.as_tensor(cell).to(image) if cell is not None else image
    return torch.linalg.vector_norm(there + shift - here)
