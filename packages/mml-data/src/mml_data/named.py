"""Data set classes with the names that the older toolkit uses."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from mml_data.dataset import LMDBDataset
from mml_data.store.manifest import MANIFEST_FILE
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
    """Base class of data sets imported from the LMDB files of the older toolkit, or from the original data.

    Parameters
    ----------
    lmdb_root_path
        Directory of the data set.
    transforms
        Callables from dict to dict. They are applied in order when a sample is read.
    full_pairwise
        Must be True. The older toolkit's point clouds with randomly drawn pairs are not supported.
    split
        Name of a recorded split. Only the samples of this split are read.

    Raises
    ------
    ValueError
        If the directory contains the pickles of the older toolkit, which must be imported first (the message
        gives the command), or if `full_pairwise` is False.
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
            raise ValueError(
                f"{type(self).__name__} does not support full_pairwise=False; create edges with a transform, "
                "for example mml_graphs.PeriodicPropertiesTransform"
            )
        pickled = path.suffix == ".lmdb" or (path.is_dir() and any(path.glob("*.lmdb")))
        if pickled and not (path / MANIFEST_FILE).exists():
            raise ValueError(
                f"{str(path)!r} contains pickles of the older toolkit; import them once with "
                f"`matsciml data import {path} DEST --reader {self.reader}`, and pass DEST"
            )
        super().__init__(path, transforms or (), split)


class MaterialsProjectDataset(NamedDataset):
    """Materials Project. See `NamedDataset`."""

    reader = "materials_project"


class MaterialsTrajectoryDataset(NamedDataset):
    """Relaxation trajectories of the Materials Project. See `NamedDataset`."""

    reader = "materials_trajectory"
    devset = "emt"


class LiPSDataset(NamedDataset):
    """Molecular dynamics trajectory of LiPS. See `NamedDataset`."""

    reader = "lips"
    devset = "emt"


class OQMDDataset(NamedDataset):
    """Open Quantum Materials Database. See `NamedDataset`."""

    reader = "oqmd"


class NomadDataset(NamedDataset):
    """NOMAD. See `NamedDataset`."""

    reader = "nomad"


class CMDataset(NamedDataset):
    """Carolina Materials Database. See `NamedDataset`."""

    reader = "carolina"


class AlexandriaDataset(NamedDataset):
    """Alexandria. See `NamedDataset`."""

    reader = "alexandria"


class ColabFitDataset(NamedDataset):
    """Data set of ColabFit. See `NamedDataset`."""

    reader = "colabfit"
    devset = "emt"


class IS2REDataset(NamedDataset):
    """Open Catalyst, initial structure to relaxed energy. See `NamedDataset`."""

    reader = "is2re"
    devset = "emt"


class S2EFDataset(NamedDataset):
    """Open Catalyst, structure to energy and forces. See `NamedDataset`."""

    reader = "s2ef"
    devset = "emt"


class SyntheticPointGroupDataset(NamedDataset):
    """Synthetic point groups. See `NamedDataset`."""

    reader = "symmetry"


NAMED_DATASETS: dict[str, type[NamedDataset]] = {
    each.__name__: each for each in NamedDataset.__subclasses__()
}
"""Named data set classes by name, as accepted by `mml_data.MatSciMLDataModule`."""
