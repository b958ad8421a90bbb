"""Make a data set of files, with a random split."""

import logging
from collections.abc import Collection, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.convert.targets import TargetKinds, find_kinds
from mml_data.convert.tree import open_source
from mml_data.convert.write_part import OnError
from mml_data.convert.write_parts import Progress, write_parts
from mml_data.manifest import Manifest
from mml_data.ranks import Ranks
from mml_data.splits import random_split

__all__ = ["import_source"]

logger = logging.getLogger(__name__)

_NO_DATA = ("about", "jobs", "overwrite", "progress", "resume")


def import_source(
    source: str | Path,
    dest: str | Path,
    *,
    splits: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    targets: Collection[str] | None = None,
    allow_missing: bool = True,
    on_error: OnError = "stop",
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    compression: str | None = None,
    reader: str | None = None,
    trust_pickle: bool = False,
    units: Mapping[str, str] | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress = False,
) -> Manifest:
    """Make a data set at `dest` from the file or directory `source`, with a random split and statistics.

    Structures are read one by one and never all held in memory. Where torch.distributed is initialized, every
    rank calls this with the same arguments, and does its share.

    Parameters
    ----------
    source
        What is read, see `mml_data.convert.tree.READABLE`.
    dest
        Directory of the new data set; it is there once it is complete.
    splits
        Shares of the training, validation and test split; they sum up to 1, the last two may be 0.
    seed
        Seed of the split.
    targets
        The targets that are wanted; default: those of the first structure.
    allow_missing
        Store a target that is null or NaN as NaN, and say so in the log, instead of refusing it.
    on_error
        ``"stop"`` at a structure that cannot be imported, or ``"skip"`` it and list it in ``errors.jsonl``.
    jobs
        Processes on each rank; each writes a shard.
    resume
        Go on with what an interrupted import of the same source left, with the same options.
    overwrite
        Replace the data set that is at `dest`.
    compression
        ``"zstd"``, or None.
    reader, trust_pickle
        For LMDBs of the older toolkit, see `mml_data.convert.tree.open_source`.
    units
        Units of targets, such as ``{"targets.band_gap": "eV"}``.
    about
        Further facts of the source, for the manifest: ``license``, ``notes``, ``command``. The default of
        ``command`` is this call, with all arguments that matter and are not the default ones; of absolute
        paths it has the last part.
    progress
        True logs every 10,000 structures; a function is called with the number of structures that are done.

    Returns
    -------
    Manifest
        What was written.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    FileExistsError
        Where there is something at `dest`, see `LMDBWriter`.
    BlockingIOError
        Where another process is writing to `dest`.
    ValueError
        Where there is no reader for it, or a structure cannot be imported: the message has its place. What
        was committed before stays, for `resume`.
    ImportError
        Where a library is missing that reads it.
    """
    given = dict(locals())
    shares = check_shares(splits)
    held_out = {name: share for name, share in shares.items() if name != "train" and share > 0}
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error must be 'stop' or 'skip', it is {on_error!r}")
    opened = open_source(source, reader=reader, targets=targets, trust_pickle=trust_pickle)

    def kinds() -> TargetKinds:
        (everything,) = opened.parts(1) or (None,)
        found = find_kinds(
            everything.read() if everything is not None else (),
            targets,
            origin=str(source),
            optional=opened.may_lack and targets is None,
        )
        return TargetKinds(
            found, allow_missing=allow_missing, may_lack=opened.may_lack, others=targets is not None
        )

    manifest = write_parts(
        opened,
        dest,
        kinds=kinds,
        splits=lambda count: random_split(np.arange(count), held_out, seed) if held_out else _all(count),
        about={"split": {"shares": shares, "seed": seed}, "command": _call(given), **(about or {})},
        on_error=on_error,
        jobs=jobs,
        resume=resume,
        overwrite=overwrite,
        compression=compression,
        units={**opened.units, **(units or {})},
        progress=progress,
    )
    for name, numbers in manifest.statistics["all"]["targets"].items():
        if (missing := numbers.get("missing_structures")) and Ranks().rank == 0:
            logger.warning(
                "%s: target %r is missing in %d of %d structures, stored as NaN",
                source,
                name,
                missing,
                manifest.num_samples,
            )
    return manifest


def _call(given: Mapping[str, Any]) -> str:
    """Return the call of `import_source` with these arguments.

    Left out are those that change no data, and the directories of absolute paths, which are this machine's.
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


def _plain(value: Any) -> Any:
    """Return a collection as one that is written as it is in Python."""
    if isinstance(value, Mapping):
        return dict(value)
    return value if value is None or isinstance(value, str | bool | int) else list(value)


def check_shares(splits: Sequence[float]) -> dict[str, float]:
    """Return the shares of the training, validation and test split by name.

    Raises
    ------
    ValueError
        Where they are none.
    """
    if len(splits) != 3 or not all(0 <= share <= 1 for share in splits) or abs(sum(splits) - 1) > 1e-9:
        raise ValueError(
            f"splits must be three shares (train, val, test) that sum up to 1, not {tuple(splits)}"
        )
    if splits[0] == 0:
        raise ValueError(f"splits leave nothing for training: {tuple(splits)}")
    return dict(zip(("train", "val", "test"), map(float, splits), strict=True))


def _all(count: int) -> dict[str, np.ndarray]:
    return {"train": np.arange(count)}
