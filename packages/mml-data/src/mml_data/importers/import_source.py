"""Import a file or directory of structures as a data set with a random split."""

import logging
from collections.abc import Collection, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.importers.labels import LabelPlan, Wanted
from mml_data.importers.tree import open_source
from mml_data.importers.write_part import OnError
from mml_data.importers.write_parts import Progress, write_parts
from mml_data.ranks import Ranks
from mml_data.store.manifest import Manifest
from mml_data.store.splits import random_split

__all__ = ["import_source"]

logger = logging.getLogger(__name__)

_NO_DATA = ("about", "jobs", "overwrite", "progress", "resume")


def import_source(
    source: str | Path,
    dest: str | Path,
    *,
    splits: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    targets: Wanted = None,
    units: Mapping[str, str] | None = None,
    classes: Collection[str] = (),
    allow_missing: bool = True,
    allow_close: bool = False,
    on_error: OnError = "stop",
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    compression: str | None = None,
    reader: str | None = None,
    trust_pickle: bool = False,
    about: Mapping[str, object] | None = None,
    progress: Progress = False,
) -> Manifest:
    """Import the file or directory `source` as a data set at `dest`, with a random split and statistics.

    Structures are read one by one and are never all kept in memory. If torch.distributed is initialized,
    every rank must call this function with the same arguments, and processes its share of the structures.

    Parameters
    ----------
    source
        File or directory to import. See `mml_data.importers.tree.READABLE` for the supported formats.
    dest
        Directory of the new data set. It appears only when the data set is complete.
    splits
        Shares of the training, validation and test splits. They sum to 1, and the last two may be 0.
    seed
        Seed of the split.
    targets
        Targets to import. By default, all labels that are recognized by their names (``matsciml data
        formats`` lists them), and the targets of formats that declare targets. A list of names selects
        targets, or makes any label of the files a target. ``{"energy": "REF_energy", "stress":
        "virial:-1/volume"}``, or the list ``["energy=REF_energy", "stress=virial:-1/volume"]``, maps labels
        to targets, see `mml_data.importers.expressions.parse_expression`. An empty list imports structures
        without targets. All other labels are stored under ``extra``.
    units
        Units of the files by quantity, if they are not eV and angstrom: ``{"energy": "kcal/mol", "length":
        "bohr"}`` converts positions, cells, energies, forces, stresses and virials. The quantities ``force``
        and ``stress``, and names of targets, can be given as well. ``{"targets.band_gap": "eV"}`` records the
        unit of a target without a conversion.
    classes
        Names of targets whose values, integers or words, are classes. They are numbered in ascending order;
        the manifest lists them.
    allow_missing
        Whether a target may be null or NaN. Otherwise this raises an error. A missing target is read as NaN.
    allow_close
        Whether atoms may be closer than 0.3 angstrom or 0.4 times the sum of their covalent radii. Otherwise
        such a structure is invalid.
    on_error
        ``"stop"`` raises an error for a structure that cannot be imported. ``"skip"`` skips the structure and
        lists it in ``errors.jsonl``.
    jobs
        Number of processes on each rank. Each process writes a shard.
    resume
        Whether to continue an interrupted import of the same source with the same options.
    overwrite
        Whether to replace an existing data set at `dest`.
    compression
        ``"zstd"``, or None.
    reader, trust_pickle
        Options for LMDB files of the older toolkit. See `mml_data.importers.tree.open_source`.
    about
        Further information about the source, for the manifest: ``license``, ``notes``, ``command``. By
        default, ``command`` is the call of this function with all arguments that affect the data and differ
        from their defaults. Absolute paths are shortened to their last component.
    progress
        True logs every 10,000 structures. A function is called with the number of finished structures.

    Returns
    -------
    Manifest
        Manifest of the new data set.

    Raises
    ------
    FileNotFoundError
        If `source` does not exist.
    FileExistsError
        If `dest` exists and may not be replaced. See `LMDBWriter`.
    BlockingIOError
        If another process is writing to `dest`.
    ValueError
        If no reader supports `source`, if no targets are found (the message lists the labels of the source),
        if two labels could be the same target, if a target has different kinds in two structures, or if a
        structure cannot be imported. The message names the position of the structure in the source. Committed
        structures are kept for `resume`.
    ImportError
        If the library that reads the format is not installed.
    """
    given = dict(locals())
    shares = check_shares(splits)
    held_out = {name: share for name, share in shares.items() if name != "train" and share > 0}
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error must be 'stop' or 'skip', got {on_error!r}")
    plan = LabelPlan(
        targets, units=units, classes=classes, allow_missing=allow_missing, allow_close=allow_close
    )
    opened = open_source(source, reader=reader, trust_pickle=trust_pickle)
    manifest = write_parts(
        opened,
        dest,
        plan=plan,
        splits=lambda count: random_split(np.arange(count), held_out, seed) if held_out else _all(count),
        about={"split": {"shares": shares, "seed": seed}, "command": _call(given), **(about or {})},
        on_error=on_error,
        jobs=jobs,
        resume=resume,
        overwrite=overwrite,
        compression=compression,
        units={**opened.units, **named_units(units)},
        progress=progress,
    )
    if Ranks().rank == 0:
        _log_missing(source, manifest)
    return manifest


def _log_missing(source: str | Path, manifest: Manifest) -> None:
    for name, numbers in manifest.statistics["all"]["targets"].items():
        if missing := numbers.get("missing_structures"):
            logger.warning(
                "%s: target %r is missing in %d of %d structures and read as NaN",
                source,
                name,
                missing,
                manifest.num_samples,
            )


def _call(given: Mapping[str, Any]) -> str:
    """Return the source code of the call of `import_source` with these arguments.

    Arguments that do not affect the data are left out, as are the directories of absolute paths, because they
    are specific to this machine.
    """
    paths = [Path(given[name]) for name in ("source", "dest")]
    arguments = [repr(path.name if path.is_absolute() else str(path)) for path in paths]
    for name, parameter in signature(import_source).parameters.items():
        if parameter.kind is Parameter.KEYWORD_ONLY and name not in _NO_DATA:
            value, default = given[name], parameter.default
            is_default = list(value) == list(default) if name == "splits" else value == default
            if not is_default:
                arguments.append(f"{name}={_plain(value)!r}")
    return f"mml_data.convert.import_source({', '.join(arguments)})"


def _plain(value: Any) -> object:
    """Return a value as a built-in type, whose repr is valid Python."""
    if isinstance(value, Mapping):
        return dict(value)
    return value if value is None or isinstance(value, str | bool | int) else list(value)


def named_units(units: Mapping[str, str] | None) -> dict[str, str]:
    """Return the units that are only recorded, without a conversion: those of keys such as ``targets.gap``."""
    return {key: unit for key, unit in (units or {}).items() if key.startswith("targets.")}


def check_shares(splits: Sequence[float]) -> dict[str, float]:
    """Check the shares of the training, validation and test splits, and return them by name.

    Raises
    ------
    ValueError
        If the shares are invalid.
    """
    if len(splits) != 3 or not all(0 <= share <= 1 for share in splits) or abs(sum(splits) - 1) > 1e-9:
        raise ValueError(f"splits must be three shares (train, val, test) that sum to 1, got {tuple(splits)}")
    if splits[0] == 0:
        raise ValueError(f"the first share of splits (train) must be above 0, got {tuple(splits)}")
    return dict(zip(("train", "val", "test"), map(float, splits), strict=True))


def _all(count: int) -> dict[str, np.ndarray]:
    return {"train": np.arange(count)}
