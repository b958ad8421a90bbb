"""Data sets under the names of the older toolkit's classes."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from mml_data.dataset import LMDBDataset
from mml_data.manifest import MANIFEST_FILE
from mml_data.transforms import Transform

__all__ = [
    "NAMED_DATASETS",
    "AlexandriaDataset",
    "CMDataset",
    "ColabFitDataset",
    "IS2REDataset",
    "LiPSDataset",
    "MaterialsProjectDataset",
    "MaterialsTrajectoryDataset",
    "NomadDataset",
    "OQMDDataset",
    "S2EFDataset",
    "SyntheticPointGroupDataset",
]


class NamedDataset(LMDBDataset):
    """A data set that was imported from the older toolkit's LMDBs, or from what it stands for.

    Parameters
    ----------
    lmdb_root_path
        Directory of the data set.
    transforms
        Callables, dict to dict, applied in order when a sample is read.
    full_pairwise
        Only True: of point clouds whose pairs are drawn at random there is no counterpart here.
    split
        Name of a recorded split.

    Raises
    ------
    ValueError
        Where there are the older toolkit's pickles, which have to be imported; the message says how. Where
        `full_pairwise` is False.
    """

    reader: ClassVar[str]
    devset: ClassVar[str] = "prototypes"

    def __init__(
        self,
        lmdb_root_path: str | Path,
        transforms: Iterable[Transform] | None = None,
        full_pairwise: bool = True,
        split: str | None = None,
    ) -> None:
        path = Path(lmdb_root_path)
        if not full_pairwise:
            raise ValueError(f"{type(self).__name__} has no full_pairwise=False: edges come from transforms")
        pickled = path.suffix == ".lmdb" or (path.is_dir() and any(path.glob("*.lmdb")))
        if pickled and not (path / MANIFEST_FILE).exists():
            raise ValueError(
                f"{str(path)!r} holds pickles of the older toolkit: import them once with "
                f"`matsciml data import {path} DEST --reader {self.reader}`, and give DEST"
            )
        super().__init__(path, transforms or (), split)


class MaterialsProjectDataset(NamedDataset):
    """Materials Project, see `NamedDataset`."""

    reader = "materials_project"


class MaterialsTrajectoryDataset(NamedDataset):
    """Relaxation trajectories of Materials Project, see `NamedDataset`."""

    reader = "materials_trajectory"
    devset = "emt"


class LiPSDataset(NamedDataset):
    """LiPS, a molecular dynamics trajectory, see `NamedDataset`."""

    reader = "lips"
    devset = "emt"


class OQMDDataset(NamedDataset):
    """Open Quantum Materials Database, see `NamedDataset`."""

    reader = "oqmd"


class NomadDataset(NamedDataset):
    """NOMAD, see `NamedDataset`."""

    reader = "nomad"


class CMDataset(NamedDataset):
    """Carolina Materials Database, see `NamedDataset`."""

    reader = "carolina"


class AlexandriaDataset(NamedDataset):
    """Alexandria, see `NamedDataset`."""

    reader = "alexandria"


class ColabFitDataset(NamedDataset):
    """A data set of ColabFit, see `NamedDataset`."""

    reader = "colabfit"
    devset = "emt"


class IS2REDataset(NamedDataset):
    """Open Catalyst, initial structure to relaxed energy, see `NamedDataset`."""

    reader = "is2re"
    devset = "emt"


class S2EFDataset(NamedDataset):
    """Open Catalyst, structure to energy and forces, see `NamedDataset`."""

    reader = "s2ef"
    devset = "emt"


class SyntheticPointGroupDataset(NamedDataset):
    """Synthetic point groups, see `NamedDataset`."""

    reader = "symmetry"


NAMED_DATASETS: dict[str, type[NamedDataset]] = {
    each.__name__: each for each in NamedDataset.__subclasses__()
}
"""By name, as `mml_data.MatSciMLDataModule` takes them."""
