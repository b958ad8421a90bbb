"""Add frames for models that are not equivariant, or apply random rotations."""

from __future__ import annotations

import logging

import numpy as np
import torch
from mml_samples import Sample, sample_name, warn_counted
from numpy.typing import NDArray

from mml_graphs._repr import pasteable_repr
from mml_graphs.libraries.graph_libraries import take_apart
from mml_graphs.sample import read_structure, with_keys
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
    """Add the structure in its own frames. Averaging a model over these frames makes it equivariant.

    For F frames, these arrays are added to the graph or, if there is none, to the sample:

    - ``fa_pos`` [N, F, 3], positions relative to their centroid and turned into each frame, angstrom;
    - ``fa_rot`` [1, F, 3, 3], rotations: ``fa_pos[:, f] == (pos - centroid) @ fa_rot[0, f]``;
    - ``fa_cell`` [1, F, 3, 3], ``cell @ fa_rot``, if there is a cell. In frame f, ``offsets`` are
      ``images @ fa_cell[0, f]``.

    The average of a model's scalars over f is invariant. The average of its vectors v, turned back by
    ``v @ fa_rot[0, f].T``, is equivariant. Labels are not changed and keep the orientation of ``pos``.
    `torch.unbind` along the frame dimension returns one array per frame, for single samples and batches.

    A frame consists of the principal axes of the positions as they are stored. It therefore follows rotations
    and reflections of a crystal, but depends on the stored images of its atoms. If principal moments coincide
    (single atoms, cubic crystals, linear molecules), the atoms or lattice vectors farthest out determine the
    frame, see ``on_degenerate``.

    Method and names follow Puny et al., ICLR 2022, and Duval et al., ICML 2023 (FAENet).

    Parameters
    ----------
    frame_averaging
        Kind of frames. ``"3D"`` uses all three axes. ``"2D"`` keeps the z axis and does not center z (for
        slabs). ``"DA"`` (data augmentation) adds no frames, but applies a random rotation to the sample and
        its graph (``pos``, ``cell``, ``offsets``, ``force`` or ``forces``, ``stress``). ``""`` and ``None``
        do nothing.
    fa_method
        Selection of frames. ``"all"`` adds all 8 frames in 3D and 4 frames in 2D. ``"stochastic"`` (also
        ``None`` and ``""``) adds a random one of them. ``"det"`` adds one that depends only on the structure.
        With the prefix ``"se3-"``, only proper rotations are used, which are half as many and preserve the
        handedness of chiral structures.
    seed
        Seed for ``"stochastic"`` and ``"DA"``. With a seed, a sample gets the same frame or rotation every
        time. ``None`` draws from torch's global generator.
    on_degenerate
        Action if principal moments coincide: ``"warn"`` logs a warning, ``"raise"`` raises an error,
        ``"allow"`` does nothing. In this case, the average of a prediction for the whole structure is still
        exact. Averages of predictions for single atoms are exact, too, unless the structure has symmetries:
        equivalent atoms may then swap their predictions. A ``"stochastic"`` frame is drawn from all frames
        that the symmetry generates, which is correct on average.

    Raises
    ------
    ValueError
        If an argument is unknown, or the structure is invalid. The message names the sample and the key.
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

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with frames, or a rotated copy for ``"DA"``."""
        if not self.frame_averaging:
            return with_keys(sample, {})
        with naming(sample):
            if self.frame_averaging == "DA":
                pos = positions(atoms_of(sample, "pos"))
                return rotated(sample, random_rotation(generator_for(pos, self.seed)))
            return self._with_frames(sample)

    def _with_frames(self, sample: Sample) -> Sample:
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
            return with_keys(sample, {**of_atoms, **of_structure})
        graph = update_graph(sample["graph"], nodes=lambda _: of_atoms, whole=lambda _: of_structure)
        return {**sample, "graph": graph}

    def _chosen(self, frames: Frames, pos: torch.Tensor) -> NDArray[np.float64]:
        """Return the frames [F, 3, 3] that the method selects."""
        method = self.fa_method.removeprefix("se3-")
        if method == "all":
            return frames.every
        if method == "det":
            return frames.first[None]
        one = int(torch.randint(len(frames.tied), (), generator=generator_for(pos, self.seed)))
        return frames.tied[one : one + 1]

    def _report(self, sample: Sample) -> None:
        found = "principal moments of the positions are equal, so that the frames depend on single atoms"
        if self.on_degenerate == "raise":
            raise ValueError(f"{found}. Pass on_degenerate='allow' to accept them.")
        if self.on_degenerate == "warn":
            about = "samples with equal principal moments"
            warn_counted(logger, about, f"{sample_name(sample)}: {found}")

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _structure(
    sample: Sample,
) -> tuple[torch.Tensor, NDArray[np.int64], NDArray[np.float64] | None]:
    """Return positions [N, 3], atomic numbers [N] and cell [3, 3], from the graph if the sample has one."""
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
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, known))}, got {value!r}")
    return value
