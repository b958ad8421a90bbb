"""The edges of a whole batch, found by torch operations on the device that the batch is on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mml_graphs.neighbors import COINCIDENT, MARGIN, check_cutoff
from mml_graphs.nvalchemi import is_installed, nvalchemi_pairs
from mml_graphs.pair_images import Pairs, find_pairs
from mml_graphs.triangular import turn, wrap

BACKENDS = ("auto", "torch", "nvalchemi")


class BatchEdges(NamedTuple):
    """Directed edges of a batch, sorted by source atom.

    ``offsets``, ``vectors`` and ``distances`` carry gradients to positions and cells. Floats have the dtype
    of the positions, or float32 where those have half precision; they are rounded from float64.

    Attributes
    ----------
    src, dst
        [E] int64, rows of ``pos``: atom ``src[i]`` sees an image of atom ``dst[i]``.
    images
        [E, 3], integer-valued floats: lattice translation of the destination atom.
    offsets
        [E, 3]: ``images @ cell``, angstrom.
    vectors
        [E, 3]: ``pos[dst] + offsets - pos[src]``, angstrom.
    distances
        [E]: the lengths of ``vectors``, angstrom.
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

    The edges are those of `find_edges` for each structure: all pairs, images included, at a distance of at
    most ``cutoff``, which is decided in float64 on what is stored (so the device must know float64). Memory
    is proportional to atoms and edges: pairs are tried a bounded number at a time. The host waits for the
    device seven times, and four times more for each portion: 65,536 pairs on a CPU, 8 million elsewhere.

    Parameters
    ----------
    pos
        [N, 3] floats, Cartesian, angstrom; atoms may lie outside the cell.
    cell
        [B, 3, 3] floats, rows are the lattice vectors, angstrom. Vectors of directions that are not periodic
        are not looked at and may be zero.
    pbc
        [B, 3] or [3] booleans: which directions are periodic.
    batch
        [N] integers, the structure of each atom, in any order. A structure without atoms has no edges, and
        its cell is not looked at.
    cutoff
        Largest distance, angstrom, inclusive.
    backend
        ``"torch"``, ``"nvalchemi"`` (nvalchemi-toolkit-ops), or ``"auto"``: the latter where it is installed
        and the tensors are on a CUDA device. Both give the same edges, those of one source in another order.

    Returns
    -------
    BatchEdges
        Each pair in both directions; an atom is its own neighbour only in another image.

    Raises
    ------
    ValueError
        On wrong shapes, dtypes or devices, a cutoff that is not positive and finite, positions or cells that
        are not finite, a structure number outside 0 to B - 1, periodic vectors that span no volume, a cutoff
        within which one atom sees more images than memory holds, or two atoms in one place; the message names
        structure and atom (its row in ``pos``).
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
        raise ValueError(f"unknown backend {backend!r}; known: {', '.join(map(repr, BACKENDS))}")
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
            f"directions (pbc {pbc[structure].tolist()}); check that its rows are three independent lattice "
            "vectors in angstrom"
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

    ``vectors`` [3, 3, N or 1] are component, lattice vector, and atom, or one structure for all atoms.
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
    """Stack three columns to [E, 3]; on a CPU this takes a quarter of the time of `torch.stack`."""
    x, y, z = columns
    rows = torch.empty(len(x), 3, dtype=dtype, device=x.device)
    rows[:, 0], rows[:, 1], rows[:, 2] = x, y, z
    return rows


def _largest_square(cutoff: float) -> float:
    """Return the largest number whose square root, correctly rounded as numpy's is, is at most the cutoff.

    A device's own square root may be off in the last digit, which would decide pairs at the very cutoff.
    """
    square = float(cutoff) ** 2
    while math.sqrt(square) > cutoff:
        square = math.nextafter(square, 0.0)
    while math.sqrt(math.nextafter(square, math.inf)) <= cutoff:
        square = math.nextafter(square, math.inf)
    return square


def _check_tensors(pos: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor) -> None:
    """Check what is known without looking at values."""
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
            raise ValueError(f"{name!r} is on {tensor.device}, but 'pos' on {pos.device}; move one of them")


def _check_values(pos: Tensor, cell: Tensor, batch: Tensor) -> None:
    """Check values, waiting for the device once where they are good."""
    strange = (batch < 0) | (batch >= len(cell))
    infinite = ~torch.isfinite(pos).all(dim=1)
    unbound = ~torch.isfinite(cell).all(dim=2).all(dim=1)
    wrong = [strange.any(), infinite.any(), unbound.any()]
    is_strange, is_infinite, is_unbound = torch.stack(wrong).tolist()
    if is_strange:
        atom = int(strange.nonzero()[0])
        raise ValueError(
            f"'batch' holds {int(batch[atom])} for atom {atom}, but there are {len(cell)} cells, from 0"
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
                f"structure {structure}: 'cell' {cell[structure].tolist()} holds values that are not finite"
            )


def _coincident(pos: Tensor, batch: Tensor, edges: BatchEdges) -> str:
    edge = int(edges.distances.argmin())
    one, two = int(edges.src[edge]), int(edges.dst[edge])
    return (
        f"structure {int(batch[one])}: atoms {one} and {two} are in one place, at "
        f"{[round(x, 4) for x in pos[one].tolist()]} ({float(edges.distances[edge]):.1e} angstrom apart, "
        "periodic images included); remove one of them"
    )
