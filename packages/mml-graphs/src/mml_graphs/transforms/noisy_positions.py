"""Add noisy positions, and the noise as a target."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mml_samples import Array, Sample

from mml_graphs._repr import pasteable_repr
from mml_graphs.transforms._arrays import positions
from mml_graphs.transforms._errors import naming, positive
from mml_graphs.transforms._graphs import atoms_of, change_atoms
from mml_graphs.transforms._random import check_seed, generator_for


class NoisyPositions:
    """Add noisy positions next to the true ones, and the noise as a target, for denoising.

    Gaussian noise with standard deviation ``scale`` is added to every coordinate. The result is stored as
    ``noisy_pos`` [N, 3] in the graph, and in the sample if the sample has positions. The noise is stored in
    ``targets["denoise"]`` [N, 3] float64, and ``"denoise"`` is added to ``target_types["pretraining"]``. The
    method is that of Zaidi et al., "Pre-training via Denoising for Molecular Property Prediction", ICLR 2023.

    ``pos`` and the edges remain those of the true structure. ``images`` and ``offsets`` are translations of
    the lattice, so the noisy edge vector is ``noisy_pos[dst] + offsets - noisy_pos[src]``. ``distances`` and
    ``unit_offsets`` belong to ``pos``.

    Parameters
    ----------
    scale
        Standard deviation of the noise, angstrom.
    normalize
        If ``True``, the target is the noise in units of ``scale`` instead of angstrom.
    seed
        With a seed, a sample gets the same noise every time, in any order and in any worker. ``None`` draws
        new noise from torch's global generator for every call. In training with a data module of mml-data,
        the noise then depends only on the module's seed, the epoch and the sample. In evaluation, it is the
        same in every epoch.

    Raises
    ------
    ValueError
        If an argument is invalid, or the positions are invalid. The message names the sample and the key.
    """

    def __init__(self, scale: float = 0.1, normalize: bool = False, seed: int | None = None) -> None:
        self.scale = positive("scale", scale)
        self.normalize = normalize
        self.seed = check_seed(seed)

    @property
    def is_random(self) -> bool:
        """Whether calls draw from torch's global generator."""
        return self.seed is None

    def __call__(self, sample: Sample) -> Sample:
        """Return a copy of the sample with noisy positions and the noise."""
        with naming(sample):
            holder = atoms_of(sample, "pos")
            pos = positions(holder)
            generator = generator_for(pos, self.seed)
            unit = torch.randn(pos.shape, generator=generator, dtype=torch.float64).to(pos.device)
            noise = unit * self.scale

            def noisy(atoms: Mapping[str, Array]) -> dict[str, torch.Tensor]:
                true = positions(atoms)
                if true.shape != pos.shape:
                    raise ValueError(
                        f"'pos' has shape {list(true.shape)} in the sample, but {list(pos.shape)} in "
                        "its graph"
                    )
                return {"noisy_pos": (true + noise.to(true.device)).to(_dtype(atoms))}

            result = change_atoms(sample, "pos", noisy)
            types = dict(sample.get("target_types", {}))
            pretraining = [name for name in types.get("pretraining", ()) if name != "denoise"]
            types["pretraining"] = [*pretraining, "denoise"]
            target = unit if self.normalize else noise
            result["targets"] = {**sample.get("targets", {}), "denoise": target}
            result["target_types"] = types
            return result

    def __repr__(self) -> str:
        return pasteable_repr(self)


def _dtype(atoms: Mapping[str, Array]) -> torch.dtype:
    """Return the dtype of the positions if they are a float tensor, and torch's default dtype otherwise."""
    pos = atoms.get("pos")
    if isinstance(pos, torch.Tensor) and pos.is_floating_point():
        return pos.dtype
    return torch.get_default_dtype()
