"""Features of a whole graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mml_graphs._repr import pasteable_repr
from mml_graphs.graph_data import GraphData
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

    They are, in this order: mean and standard deviation of the atomic number of the adsorbate, the same of
    the slab; mean and standard deviation of the length of edges (angstrom), the same of their reduced mass
    (u), see `DistancesTransform`; and the distance between the centres of mass of adsorbate and slab
    (angstrom), to the nearest periodic image. The adsorbate is what ``tags`` say 2 of, the slab
    all other atoms; without ``tags`` all atoms are adsorbate. Super nodes are left out, except that their
    edges count. What is not defined (a standard deviation of one value, an empty group) is 0. Standard
    deviations have N - 1 below.

    Centres of mass are of atoms as they are stored, whatever periodic images these are.

    Raises
    ------
    ValueError
        If there is no graph of one structure, or it lacks an array; the message names the sample and the key.
    """

    is_random = False

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the sample with the features of its graph."""
        with naming(sample):
            variables = graph_variables(sample, graph_of(sample))
        return {**sample, "graph_variables": variables.to(torch.get_default_dtype())[None]}

    def __repr__(self) -> str:
        return pasteable_repr(self)


def graph_variables(sample: Mapping[str, Any], data: GraphData) -> torch.Tensor:
    """Compute the nine features [9] of `GraphVariablesTransform`, float64.

    Parameters
    ----------
    sample
        A sample, for its tags where the graph has none.
    data
        The parts of its graph.
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
    """Return mean and standard deviation, 0 where there are too few values."""
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
