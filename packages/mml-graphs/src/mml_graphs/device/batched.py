"""Find the edges of a whole batch with torch operations, on the device of the batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mml_graphs.device.nvalchemi import is_installed, nvalchemi_pairs
from mml_graphs.device.pair_images import Pairs, find_pairs
from mml_graphs.device.triangular import turn, wrap
from mml_graphs.neighbors.edges import COINCIDENT, MARGIN
from mml_graphs.neighbors.find_edges import check_cutoff

BACKENDS = ("auto", "torch", "nvalchemi")


class BatchEdges(NamedTuple):
    """Directed edges of a batch, sorted by source atom.

    ``offsets``, ``vectors`` and ``distances`` carry gradients to positions and cells. Floats are computed in
    float64 and rounded to the dtype of the positions, or to float32 if the positions have half precision.

    Attributes
    ----------
    src, dst
        [E] int64, rows of ``pos``: edge i connects atom ``src[i]`` to an image of atom ``dst[i]``.
    images
        [E, 3], integer-valued floats: lattice translation of the destination atom.
    offsets
        [E, 3]: ``images @ cell``, angstrom.
    vectors
        [E, 3]: ``pos[dst] + offsets - pos[src]``, angstrom.
    distances
        [E]: lengths of ``vectors``, angstrom.
    """

    src: Tensor
    dst: Tensor
    images: Tensor
    offsets: Tensor
    vectors: Tensor
    distances: Tensor


def periodic_edges_batch(
    pos: Tensor,
    cell: Tensor,
    pbc: Tensor | Sequence[bool],
    batch: Tensor,
    cutoff: float,
    backend: str = "auto",
) -> BatchEdges:
    """Find the edges of all structures of a batch at once, on the device of its tensors.

    For each structure, the edges are the same as those of `find_edges`: all pairs, images included, at a
    distance of at most ``cutoff``. The distances are compared with the cutoff in float64, computed from the
    tensors as they are stored, so the device must support float64. Memory is proportional to the number of
    atoms and edges, because pairs are examined in portions of bounded size: 65,536 pairs on a CPU, 8 million
    on other devices. The host synchronizes with the device seven times, and four more times for each portion.

    Parameters
    ----------
    pos
        [N, 3] floats, Cartesian positions, angstrom. Atoms may lie outside the cell.
    cell
        [B, 3, 3] floats, rows are the lattice vectors, angstrom. Vectors of directions that are not periodic
        are ignored and may be zero.
    pbc
        [B, 3] or [3] booleans, periodicity along each of the three lattice vectors.
    batch
        [N] integers, index of the structure of each atom, in any order. A structure without atoms has no
        edges, and its cell is ignored.
    cutoff
        Largest distance, angstrom, inclusive.
    backend
        ``"torch"``, ``"nvalchemi"`` (nvalchemi-toolkit-ops) or ``"auto"``, which selects ``"nvalchemi"`` if
        it is installed and the tensors are on a CUDA device, and ``"torch"`` otherwise. Both backends return
        the same edges, but the edges of one source atom may be in a different order.

    Returns
    -------
    BatchEdges
        Each pair in both directions. An atom is a neighbor of itself only in another image.

    Raises
    ------
    ValueError
        If a shape, dtype or device is wrong, the cutoff is not positive and finite, positions or cells are
        not finite, a structure index is outside 0 to B - 1, the periodic vectors of a structure span no
        volume, an atom has more images within the cutoff than fit into memory, or two atoms are at the same
        position.
        The message names the structure and the atom (its row in ``pos``).
    ImportError
        If the backend is not installed.

    Examples
    --------
    Rock salt and a water molecule:

    >>> import torch
    >>> cell = torch.zeros(2, 3, 3)
    >>> cell[0] = torch.tensor([[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]])
    >>> pos = torch.tensor([[0, 0, 0], [2.82, 0, 0], [0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    >>> pbc = torch.tensor([[True] * 3, [False] * 3])
    >>> edges = periodic_edges_batch(pos, cell, pbc, torch.tensor([0, 0, 1, 1, 1]), cutoff=3.0)
    >>> edges.src.bincount().tolist()
    [6, 6, 2, 2, 2]
    """
    check_cutoff(cutoff)
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(map(repr, BACKENDS))}, got {backend!r}")
    pbc = torch.as_tensor(pbc, device=None if isinstance(pbc, Tensor) else pos.device)
    _check_tensors(pos, cell, pbc, batch)
    pbc = pbc.expand(len(cell), 3)
    batch = batch.to(torch.int64)
    search = _search(pos.detach().double(), cell.detach().double(), pbc, batch, cutoff + MARGIN, backend)
    columns, vectors = list(pos.double().T.contiguous()), cell.double().permute(2, 1, 0)
    if len(cell) > 1:
        vectors = vectors.index_select(2, batch)
    dtype, largest = torch.promote_types(pos.dtype, torch.float32), _largest_square(cutoff)
    portions, keep, near = [], [], []
    for pairs in search:
        edges, squares = _geometry(columns, vectors, pairs, dtype)
        portions.append(edges)
        keep.append(squares <= largest)
        near.append((squares < COINCIDENT**2).any())
    edges = BatchEdges(*map(_join, zip(*portions, strict=True)))
    some_far, some_near = torch.stack([~_join(keep).all(), torch.stack(near).any()]).tolist()
    if some_near:
        raise ValueError(_coincident(pos, batch, edges))
    if some_far:
        kept = _join(keep).nonzero().squeeze(1)
        edges = BatchEdges(*(value.index_select(0, kept) for value in edges))
    return edges


def _search(
    pos: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor, radius: float, backend: str
) -> Iterable[Pairs]:
    if not len(pos):
        return [Pairs(batch, batch, pos.new_zeros(3, 0))]
    _check_values(pos, cell, batch)
    counts = torch.zeros(len(cell), dtype=torch.int64, device=pos.device)
    counts = counts.index_add(0, batch, torch.ones_like(batch))
    frame = turn(pos, cell, pbc, batch, counts > 0, radius)
    if frame.flat.any():
        structure = int(frame.flat.nonzero()[0])
        raise ValueError(
            f"structure {structure}: 'cell' {cell[structure].tolist()} has no volume in its periodic "
            f"directions (pbc {pbc[structure].tolist()}). Check that its rows are three independent lattice "
            "vectors in angstrom."
        )
    wrapped = wrap(pos, frame, batch)
    if backend == "nvalchemi" or (backend == "auto" and pos.is_cuda and is_installed()):
        return [nvalchemi_pairs(wrapped, frame, batch, counts, radius)]
    return find_pairs(wrapped, frame, batch, counts, radius)


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _geometry(
    columns: Sequence[Tensor], vectors: Tensor, pairs: Pairs, dtype: torch.dtype
) -> tuple[BatchEdges, Tensor]:
    """Compute edges and squared lengths by the formula of `find_edges`, in the same order of operations.

    The dimensions of ``vectors`` [3, 3, N or 1] are component, lattice vector and atom. The last dimension is
    1 if the batch has one structure.
    """
    src, dst, images = pairs
    i, j, k = images
    offsets, components = [], []
    squares = torch.zeros_like(i)
    for column, lattice in zip(columns, vectors, strict=True):
        a, b, c = lattice if lattice.shape[1] == 1 else (v.index_select(0, src) for v in lattice)
        offset = (i * a + j * b) + k * c
        component = column.index_select(0, dst) - column.index_select(0, src) + offset
        squares = squares + component * component
        offsets.append(offset)
        components.append(component)
    edges = BatchEdges(
        src,
        dst,
        _rows(images, dtype),
        _rows(offsets, dtype),
        _rows(components, dtype),
        squares.sqrt().to(dtype),
    )
    return edges, squares.detach()


def _rows(columns: Iterable[Tensor], dtype: torch.dtype) -> Tensor:
    """Stack three columns to [E, 3]. On a CPU, this takes a quarter of the time of `torch.stack`."""
    x, y, z = columns
    rows = torch.empty(len(x), 3, dtype=dtype, device=x.device)
    rows[:, 0], rows[:, 1], rows[:, 2] = x, y, z
    return rows


def _largest_square(cutoff: float) -> float:
    """Return the largest number whose correctly rounded square root is at most the cutoff.

    NumPy rounds square roots correctly. The square root of a device may be wrong in the last digit, which
    would change the decision for pairs at exactly the cutoff.
    """
    square = float(cutoff) ** 2
    while math.sqrt(square) > cutoff:
        square = math.nextafter(square, 0.0)
    while math.sqrt(math.nextafter(square, math.inf)) <= cutoff:
        square = math.nextafter(square, math.inf)
    return square


def _check_tensors(pos: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor) -> None:
    """Check dtypes, shapes and devices, which does not require reading values from the device."""
    for name, tensor in (("pos", pos), ("cell", cell)):
        if not tensor.is_floating_point():
            raise ValueError(f"{name!r} has dtype {tensor.dtype}, expected floats")
    if pbc.dtype != torch.bool:
        raise ValueError(f"'pbc' has dtype {pbc.dtype}, expected booleans")
    if batch.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise ValueError(f"'batch' has dtype {batch.dtype}, expected integers")
    if pos.ndim != 2 or pos.shape[1] != 3:
        raise ValueError(f"'pos' has shape {list(pos.shape)}, expected [N, 3]")
    if cell.ndim != 3 or cell.shape[1:] != (3, 3):
        raise ValueError(
            f"'cell' has shape {list(cell.shape)}, expected [B, 3, 3], one cell for each structure"
        )
    if pbc.shape not in ((3,), (len(cell), 3)):
        raise ValueError(
            f"'pbc' has shape {list(pbc.shape)}, expected [3] or [{len(cell)}, 3] for {len(cell)} cells"
        )
    if batch.shape != (len(pos),):
        raise ValueError(f"'batch' has shape {list(batch.shape)}, expected [{len(pos)}] for {len(pos)} atoms")
    for name, tensor in (("cell", cell), ("pbc", pbc), ("batch", batch)):
        if tensor.device != pos.device:
            raise ValueError(
                f"{name!r} is on {tensor.device}, but 'pos' is on {pos.device}. Move one of them."
            )


def _check_values(pos: Tensor, cell: Tensor, batch: Tensor) -> None:
    """Check values. If they are valid, this synchronizes with the device only once."""
    strange = (batch < 0) | (batch >= len(cell))
    infinite = ~torch.isfinite(pos).all(dim=1)
    unbound = ~torch.isfinite(cell).all(dim=2).all(dim=1)
    wrong = [strange.any(), infinite.any(), unbound.any()]
    is_strange, is_infinite, is_unbound = torch.stack(wrong).tolist()
    if is_strange:
        atom = int(strange.nonzero()[0])
        raise ValueError(
            f"'batch' of atom {atom} is {int(batch[atom])}, expected 0 to {len(cell) - 1} for "
            f"{len(cell)} cells"
        )
    if is_infinite:
        atom = int(infinite.nonzero()[0])
        raise ValueError(
            f"structure {int(batch[atom])}: atom {atom} has 'pos' {pos[atom].tolist()}, which is not finite"
        )
    if is_unbound:
        occupied = torch.zeros_like(unbound).index_fill(0, batch, True)
        for structure in (unbound & occupied).nonzero().squeeze(1)[:1].tolist():
            raise ValueError(
                f"structure {structure}: 'cell' {cell[structure].tolist()} contains values that are "
                "not finite"
            )


def _coincident(pos: Tensor, batch: Tensor, edges: BatchEdges) -> str:
    edge = int(edges.distances.argmin())
    one, two = int(edges.src[edge]), int(edges.dst[edge])
    return (
        f"structure {int(batch[one])}: atoms {one} and {two} are at the same position "
        f"{[round(x, 4) for x in pos[one].tolist()]} ({float(edges.distances[edge]):.1e} angstrom apart, "
        "periodic images included). Remove one of them."
    )
