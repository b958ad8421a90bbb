"""Read structure files without importing them as a data set."""

import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from mml_samples import Sample, warn_counted

from mml_data.importers.labels import LabelPlan, Wanted
from mml_data.importers.structure import to_sample
from mml_data.importers.tree import open_source
from mml_data.store.records import encode_record

__all__ = ["read_structures"]

logger = logging.getLogger(__name__)

_NO_TARGETS = LabelPlan(())


def read_structures(
    path: str | Path, targets: Wanted = (), classes: Collection[str] = ()
) -> Iterator[tuple[str, Sample]]:
    """Yield the structures of a file or directory one by one, as an imported data set would return them.

    Parameters
    ----------
    path
        File or directory. See `mml_data.importers.registry` for the formats.
    targets
        Labels to read, see `mml_data.importers.labels.LabelPlan`. A structure may lack them. If the labels of
        a structure are invalid, they are left out, and a warning is logged. Default: no labels.
    classes
        Names of targets whose values, integers or words, are classes.

    Yields
    ------
    tuple
        Position of the structure, ``file:number``, and the sample, a dict of tensors.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ImportError
        If the library that reads the format is not installed.
    ValueError, TypeError
        If a structure cannot be read. The message names the structure.
    """
    from mml_data.store.tensors import read_tensors

    plan = LabelPlan(targets, classes=classes) if targets is None or len(targets) else None
    for part in open_source(path).parts(1):
        for place, item in part.read():
            if isinstance(item, Exception):
                raise ValueError(f"{place}: {item}") from item
            try:
                sample = _with_labels(item, plan, place)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{place}: {error}") from error
            yield place, read_tensors(encode_record(sample))


def _with_labels(structure: Any, plan: LabelPlan | None, place: str) -> Sample:
    without = to_sample(structure, _NO_TARGETS)[0]
    if plan is None:
        return without
    try:
        return to_sample(structure, plan, check=False)[
            0
        ]  # the structure is checked above; labels may be words
    except (TypeError, ValueError) as error:
        warn_counted(
            logger, "structures without their labels", f"the labels of {place} are left out: {error}"
        )
        return without
