"""Frames for models that are not equivariant themselves, and random rotations."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mml_graphs._notices import counted
from mml_graphs._repr import pasteable_repr
from mml_graphs.graph_libraries import take_apart
from mml_graphs.sample import read_structure, sample_name
from mml_graphs.transforms._arrays import positions
from mml_graphs.transforms._errors import naming
from mml_graphs.transforms._frames import Frames, find_frames
from mml_graphs.transforms._graphs import atoms_of, update_graph
from mml_graphs.transforms._random import check_seed, generator_for
from mml_graphs.transforms._rotation import random_rotation, rotated

logger = logging.getLogger(__name__)

KINDS = ("", "2D", "3D", "DA")
METHODS = ("stochastic", "all", "det", "se3-stochastic", "se3-all", "se3-det")
ON_DEGENERATE = ("warn", "raise", "allow")


class FrameAveraging:
    """Add the structure as it looks in its own frames, an average over which makes any model equivariant.

    Adds, to the graph where there is one and to the sample otherwise, for F frames:

    - ``fa_pos`` [N, F, 3], positions from their centroid, turned into each frame, angstrom;
    - ``fa_rot`` [1, F, 3, 3]: ``fa_pos[:, f] == (pos - centroid) @ fa_rot[0, f]``;
    - ``fa_cell`` [1, F, 3, 3]: ``cell @ fa_rot``, where there is a cell. In frame f, ``offsets`` are
      ``images @ fa_cell[0, f]``.

    The average over f of a model's scalars, and of its vectors v turned back, ``v @ fa_rot[0, f].T``, is
    invariant and equivariant. Labels stay as they are, in the orientation of ``pos``. `torch.unbind` along
    the dimension of frames gives one array for each frame, batched or not.

    A frame is made of principal axes of the positions as they are stored; so it follows rotations and
    reflections of a crystal, and depends on which images of its atoms were chosen. Where principal moments
    coincide (a single atom, cubic crystals, linear molecules) atoms or lattice vectors far out decide, see
    ``on_degenerate``.

    Method and names: Puny et al., ICLR 2022; Duval et al., ICML 2023 (FAENet).

    Parameters
    ----------
    frame_averaging
        ``"3D"``; ``"2D"``, about a z axis that is kept (slabs), where z is not centred; ``"DA"``, data
        augmentation: no frames, but a random rotation of the sample and its graph (``pos``, ``cell``,
        ``offsets``, ``force`` or ``forces``, ``stress``); ``""`` or None, which does nothing.
    fa_method
        ``"all"``, 8 frames in 3D and 4 in 2D; ``"stochastic"`` (also None and ``""``), one of them by chance;
        ``"det"``, one by a rule that depends on the structure only. With ``"se3-"`` before, only proper
        rotations, half as many, which keep the hand of chiral structures.
    seed
        None draws from torch's random numbers; with a seed a sample gets the same frame, or rotation, every
        time. For ``"stochastic"`` and ``"DA"``.
    on_degenerate
        What to do where principal moments coincide: ``"warn"`` in the log, ``"raise"``, ``"allow"``. The
        average of the one prediction for a structure is still exact then, and so are those for its atoms
        unless the structure has symmetries: equivalent atoms may then swap their predictions. A
        ``"stochastic"`` frame is drawn from all that the symmetry gives, which is right on average.

    Raises
    ------
    ValueError
        On an unknown argument or a structure that cannot be; the message names the sample and the key.
    """

    def __init__(
        self,
        frame_averaging: str | None = None,
        fa_method: str | None = None,
        seed: int | None = None,
        on_degenerate: str = "warn",
    ) -> None:
        self.frame_averaging = _known("frame_averaging", frame_averaging or "", KINDS)
        self.fa_method = _known("fa_method", fa_method or "stochastic", METHODS)
        self.seed = check_seed(seed)
        self.on_degenerate = _known("on_degenerate", on_degenerate, ON_DEGENERATE)

    @property
    def is_random(self) -> bool:
        """Whether calls draw from torch's global generator."""
        draws = self.frame_averaging == "DA" or self.fa_method.endswith("stochastic")
        return bool(self.frame_averaging) and draws and self.seed is None

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the sample with frames, or turned."""
        if not self.frame_averaging:
            return dict(sample)
        with naming(sample):
            if self.frame_averaging == "DA":
                pos = positions(atoms_of(sample, "pos"))
                return rotated(sample, random_rotation(generator_for(pos, self.seed)))
            return self._with_frames(sample)

    def _with_frames(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        pos, numbers, cell = _structure(sample)
        frames = find_frames(
            pos.detach().cpu().to(torch.float64).numpy(),
            numbers,
            cell,
            keep_z=self.frame_averaging == "2D",
            proper=self.fa_method.startswith("se3-"),
        )
        if frames.degenerate:
            self._report(sample)
        rotations = torch.tensor(self._chosen(frames, pos))
        shifted = pos.to(torch.float64) - torch.tensor(frames.center).to(pos.device)
        dtype = torch.get_default_dtype()
        of_atoms = {"fa_pos": torch.einsum("ni,fij->nfj", shifted, rotations.to(pos.device)).to(dtype)}
        of_structure = {"fa_rot": rotations[None].to(dtype)}
        if cell is not None:
            of_structure["fa_cell"] = (torch.tensor(cell) @ rotations)[None].to(dtype)
        if "graph" not in sample:
            return {**sample, **of_atoms, **of_structure}
        graph = update_graph(sample["graph"], nodes=lambda _: of_atoms, whole=lambda _: of_structure)
        return {**sample, "graph": graph}

    def _chosen(self, frames: Frames, pos: torch.Tensor) -> NDArray[np.float64]:
        """Return [F, 3, 3], the frames that the method asks for."""
        method = self.fa_method.removeprefix("se3-")
        if method == "all":
            return frames.every
        if method == "det":
            return frames.first[None]
        one = int(torch.randint(len(frames.tied), (), generator=generator_for(pos, self.seed)))
        return frames.tied[one : one + 1]

    def _report(self, sample: Mapping[str, Any]) -> None:
        found = "principal moments of the positions coincide, so its frames depend on single atoms"
        if self.on_degenerate == "raise":
            raise ValueError(f"{found}; say on_degenerate='allow' to take them")
        if self.on_degenerate == "warn":
            counted(logger, "samples with coinciding principal moments", f"{sample_name(sample)}: {found}")

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _structure(
    sample: Mapping[str, Any],
) -> tuple[torch.Tensor, NDArray[np.int64], NDArray[np.float64] | None]:
    """Return positions [N, 3], atomic numbers [N] and cell [3, 3], of the graph where there is one."""
    if "graph" not in sample:
        structure = read_structure(sample)
        return positions(sample), structure.atomic_numbers, structure.cell
    data = take_apart(sample["graph"])
    pos = positions(data.nodes)
    numbers = data.nodes.get("atomic_numbers", torch.zeros(len(pos)))
    cell = data.whole.get("cell")
    return (
        pos,
        numbers.detach().cpu().numpy().astype(np.int64),
        None if cell is None else cell.detach().cpu().numpy().astype(np.float64).reshape(3, 3),
    )


def _known(argument: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{argument} is {value!r}; known: {', '.join(map(repr, known))}")
    return value
