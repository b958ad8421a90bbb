"""Import files of structures as a data set with splits."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mml_data.grouping import Group
from mml_data.importers.label_table import ID_PROP, LabeledSource, LabelTable
from mml_data.importers.labels import LabelPlan, Wanted
from mml_data.importers.recipe import accepts_recipe, call_text, used_options
from mml_data.importers.separate_sources import Files, SeparateSources, given_files
from mml_data.importers.source import Source
from mml_data.importers.split_plan import SplitPlan
from mml_data.importers.tree import open_source
from mml_data.importers.unchanged import Unchanged
from mml_data.importers.write_part import OnError
from mml_data.importers.write_parts import Progress, write_parts
from mml_data.ranks import Ranks
from mml_data.split_rules import SplitRules
from mml_data.store.manifest import Manifest

__all__ = ["import_source"]

logger = logging.getLogger(__name__)


@accepts_recipe
def import_source(
    source: str | Path | None,
    dest: str | Path,
    *,
    splits: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    split_by: str | Group | None = None,
    folds: int | None = None,
    fold: int = 0,
    train: Files = None,
    valid: Files = None,
    test: Files = None,
    targets: Wanted = None,
    units: Mapping[str, str] | None = None,
    classes: Collection[str] = (),
    labels: str | Path | None = None,
    id_column: str | None = None,
    allow_missing: bool = True,
    allow_close: bool = False,
    on_error: OnError = "stop",
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    compression: str | None = None,
    reader: str | None = None,
    elements: Sequence[str] | None = None,
    trust_pickle: bool = False,
    recipe: str | Path | None = None,
    scheduler: str | None = None,
    about: Mapping[str, object] | None = None,
    progress: Progress = False,
) -> Manifest:
    """Import the file or directory `source` as a data set at `dest`, with splits and statistics.

    Structures are read one by one and are never all kept in memory. If torch.distributed is initialized,
    every rank must call this function with the same arguments, and processes its share of the structures.

    Parameters
    ----------
    source
        File or directory to import, in one of the formats that ``matsciml data formats`` lists. None if
        `train`, `valid` or `test` are given.
    dest
        Directory of the new data set. It appears only when the data set is complete.
    splits
        Shares of the training, validation and test splits. They sum to 1. ``(0, 0, 1)`` imports a test set.
    seed
        Seed of the splits. The same source and options always give the same splits.
    split_by
        Criterion for structures that stay in the same split: ``"source"`` (file), ``"composition"``,
        ``"elements"``, ``"prototype"``, ``"block"`` (consecutive structures), a key of the samples such as
        ``"extra.config_type"``, or a function from a sample to the name of its group. ``"frame"`` splits
        single structures. Default: the frames of a material or trajectory stay together, see
        `mml_data.group_samples.find_groups`.
    folds, fold
        Number of folds of a cross-validation, in place of `splits`, and the number of the fold that becomes
        the test split. The next fold becomes the validation split, and the others become the training split.
    train, valid, test
        Files or directories of the training, validation and test splits, in place of `source`.
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
    labels
        Table of labels: CSV, TSV, JSON or parquet. Its rows are joined to the structures by the names of
        their files or by ids. In a directory with ``id_prop.csv``, this table is joined by default.
    id_column
        Column of `labels` with the names or ids. Default: the column with a usual name, such as ``id``,
        otherwise the first column.
    allow_missing
        Whether a target may be null or NaN. Otherwise this raises an error. A missing target is read as NaN.
    allow_close
        Whether atoms may be closer than 0.3 angstrom or 0.4 times the sum of their covalent radii. Otherwise
        such a structure is invalid.
    on_error
        ``"stop"`` raises an error for a structure that cannot be imported. ``"skip"`` skips the structure and
        lists it in ``errors.jsonl``.
    jobs
        Number of processes on each rank. Each process writes a shard. With `scheduler`, the number of parts.
    resume
        Whether to continue an interrupted import of the same source with the same options.
    overwrite
        Whether to replace an existing data set at `dest`.
    compression
        ``"zstd"``, or None.
    reader, elements, trust_pickle
        See `mml_data.importers.tree.open_source`.
    recipe
        YAML file with options of this function, or a data set whose import is repeated. Options of the call
        take precedence. See `mml_data.importers.recipe`.
    scheduler
        Address of a Dask scheduler, such as ``"tcp://node1:8786"``, whose workers share the work. They must
        share the file system with this process.
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
    ConnectionError
        If the Dask scheduler does not answer.
    ImportError
        If the library that reads the format is not installed.
    """
    given = dict(locals())
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error must be 'stop' or 'skip', got {on_error!r}")
    rules = SplitRules(check_shares(splits, folds), seed, folds, fold)
    plan = LabelPlan(
        targets, units=units, classes=classes, allow_missing=allow_missing, allow_close=allow_close
    )

    def opened(path: str | Path) -> Source:
        return open_source(path, reader=reader, elements=elements, trust_pickle=trust_pickle)

    files = given_files({"train": train, "val": valid, "test": test})
    if (source is None) == (not files):
        raise ValueError(
            "pass either a source or files of splits (train, valid, test), got the source "
            f"{source and str(source)!r} and {len(files)} files of splits; training structures beside other "
            "splits are given as train (--train FILE)"
        )
    separate = SeparateSources([(split, path, opened(path)) for split, path in files]) if files else None
    whole: Any = separate if source is None else opened(source)
    if labels is None and source is not None and (Path(source) / ID_PROP).is_file():
        labels = Path(source) / ID_PROP
        logger.info("joined the labels in %s", labels)
    table = None
    if labels is not None:
        table = LabelTable(labels, id_column, targets=targets is None, classes=classes)
        whole = LabeledSource(whole, table)
    elif id_column is not None:
        raise ValueError(f"id_column {id_column!r} requires a table; pass labels (--labels FILE)")
    paths = [path for path in (source, labels) if path is not None] + [path for _, path in files]
    manifest = write_parts(
        whole,
        dest,
        plan=plan,
        splits=SplitPlan(rules, split_by, separate=separate, table=table),
        about={
            "command": call_text(import_source, given),
            "recipe": used_options(import_source, given, dest),
            **(about or {}),
        },
        on_error=on_error,
        jobs=jobs,
        resume=resume,
        overwrite=overwrite,
        compression=compression,
        units={**whole.units, **named_units(units)},
        unchanged=Unchanged(paths),
        progress=progress,
        scheduler=scheduler,
    )
    if Ranks().rank == 0:
        _log_missing(manifest.source["origin"], manifest)
    return manifest


def _log_missing(source: object, manifest: Manifest) -> None:
    for name, numbers in manifest.statistics["all"]["targets"].items():
        if missing := numbers.get("missing_structures"):
            logger.warning(
                "%s: target %r is missing in %d of %d structures and read as NaN",
                source,
                name,
                missing,
                manifest.num_samples,
            )


def named_units(units: Mapping[str, str] | None) -> dict[str, str]:
    """Return the units of keys such as ``targets.gap``, which are recorded without a conversion."""
    return {key: unit for key, unit in (units or {}).items() if key.startswith("targets.")}


def check_shares(splits: Sequence[float], folds: int | None = None) -> dict[str, float]:
    """Check the shares of the training, validation and test splits, and return them by name.

    Raises
    ------
    ValueError
        If the shares are invalid, or if shares other than the default ones and folds are given.
    """
    if len(splits) != 3 or not all(0 <= share <= 1 for share in splits) or abs(sum(splits) - 1) > 1e-9:
        raise ValueError(f"splits must be three shares (train, val, test) that sum to 1, got {tuple(splits)}")
    if folds is not None and tuple(splits) != (0.8, 0.1, 0.1):
        raise ValueError(
            f"splits and folds are mutually exclusive, got splits={tuple(splits)} and folds={folds}"
        )
    return dict(zip(("train", "val", "test"), map(float, splits), strict=True))
