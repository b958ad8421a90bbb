"""Find pairs with the Warp kernels of nvalchemi-toolkit-ops, the fastest search on NVIDIA GPUs.

This module calls `nvalchemiops.torch.neighbors.neighbor_list`, see
https://nvidia.github.io/nvalchemi-toolkit-ops. It was tested with version 0.5. The library is imported on
first use.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from mml_samples import optional_module
from torch import Tensor

from mml_graphs.device.pair_images import Pairs, in_given_order
from mml_graphs.device.triangular import Frame, Wrapped


@cache
def is_installed() -> bool:
    """Return whether nvalchemi-toolkit-ops is installed, without importing it."""
    return find_spec("nvalchemiops") is not None


def nvalchemi_pairs(wrapped: Wrapped, frame: Frame, batch: Tensor, counts: Tensor, radius: float) -> Pairs:
    """Find the pairs within a radius.

    Parameters
    ----------
    wrapped
        Atoms in the turned cells.
    frame
        Turned cells.
    batch
        [N] int64, index of the structure of each atom, in any order.
    counts
        [B] int64, number of atoms of each structure.
    radius
        Search radius, angstrom.

    Returns
    -------
    Pairs
        All pairs, those of an atom with itself only in another image. Due to rounding, pairs may be included
        that are slightly farther apart than the radius.

    Raises
    ------
    ImportError
        If nvalchemi-toolkit-ops is not installed.
    """
    module = optional_module(
        "nvalchemiops.torch.neighbors", "nvalchemi-toolkit-ops", "neighbor backend 'nvalchemi'"
    )
    # `neighbor_list` requires that the atoms of a structure are consecutive.
    order = torch.argsort(batch, stable=True)
    cell = torch.zeros(len(counts), 3, 3, dtype=torch.float64, device=batch.device)
    rows, columns = torch.tril_indices(3, 3, device=batch.device)
    cell[:, rows, columns] = frame.vectors.T
    # Structures without atoms have no valid cell, but `neighbor_list` inverts every cell.
    cell = torch.where((counts > 0)[:, None, None], cell, torch.eye(3, dtype=cell.dtype, device=cell.device))
    pointer = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    arguments = {
        "cell": cell,
        "pbc": torch.ones(len(counts), 3, dtype=torch.bool, device=batch.device),
        "batch_idx": batch.index_select(0, order).to(torch.int32),
        "batch_ptr": pointer.to(torch.int32),
        "return_neighbor_list": True,
    }
    positions = wrapped.coordinates.index_select(1, order).T.contiguous()
    try:
        (src, dst), _, images = module.neighbor_list(positions, radius, **arguments)
    except module.NeighborOverflowError as error:
        # The library's estimate of the number of neighbors per atom was too low. The error contains the
        # actual number.
        (src, dst), _, images = module.neighbor_list(
            positions, radius, max_neighbors=error.num_neighbors, **arguments
        )
    other = torch.nonzero((src != dst) | images.any(dim=1)).squeeze(1)
    src, dst = order.index_select(0, src[other]), order.index_select(0, dst[other])
    src, by_source = torch.sort(src, stable=True)
    dst, turned = dst[by_source], images[other[by_source]].T.contiguous()
    turned = turned + wrapped.shifts.index_select(1, src) - wrapped.shifts.index_select(1, dst)
    places = frame.axes.argsort(dim=1).T.index_select(1, batch)
    return Pairs(src, dst, in_given_order(turned, places, src))
