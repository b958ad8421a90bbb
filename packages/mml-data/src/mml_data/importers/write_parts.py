"""Write the parts of a source as the shards of a data set, in several processes and on one or more ranks."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from mml_data.importers.account import Unusable, check_targets, make_account
from mml_data.importers.labels import LabelPlan
from mml_data.importers.source import Part, Source
from mml_data.importers.split_plan import NoMatch, SplitPlan, Written
from mml_data.importers.workers import Pool, Workers
from mml_data.importers.write_part import OnError, PartWriter
from mml_data.ranks import Ranks
from mml_data.store.assemble import Splits, assemble, count_records, shard_name, shards_in
from mml_data.store.codec import check_compression
from mml_data.store.manifest import Manifest
from mml_data.store.publish import PartialDirectory
from mml_data.store.schema import KindConflict
from mml_data.transforms import with_message

__all__ = ["ERRORS_FILE", "Progress", "write_parts"]

logger = logging.getLogger(__name__)

Progress = bool | Callable[[int], object]
"""True logs every 10,000 structures. A function is called with the number of finished structures."""

ERRORS_FILE = "errors.jsonl"
_OPTIONS_FILE = "options.json"
_LOG_EVERY = 10_000


class OtherOptions(ValueError):  # noqa: N818
    """Error of an import that cannot continue an interrupted one, because its options differ."""


def write_parts(
    source: Source,
    dest: str | Path,
    *,
    plan: LabelPlan | None,
    splits: SplitPlan | Callable[[int], Splits],
    about: Mapping[str, object],
    on_error: OnError = "stop",
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    compression: str | None = None,
    units: Mapping[str, str] | None = None,
    transforms: dict[str, object] | None = None,
    class_names: Mapping[str, list[int | str]] | None = None,
    unchanged: Callable[[], None] | None = None,
    progress: Progress = False,
    scheduler: str | None = None,
) -> Manifest:
    """Write a source as the data set at `dest`, with one shard for each part. See `import_source`.

    Parameters
    ----------
    source
        Source to write.
    plan
        Labels to import. None if the source yields samples, which are stored unchanged.
    splits
        Plan of the splits, or a function from the number of samples to the splits.
    about
        Information for the manifest, in addition to the description of the source.
    transforms
        Description of the transforms, for the manifest.
    class_names
        Names of the classes of targets that the samples contain as numbers.
    unchanged
        Function that is called at the end, and raises an error if the source has changed.
    dest, on_error, jobs, resume, overwrite, compression, units, progress, scheduler
        See `import_source`.

    Raises
    ------
    ValueError
        If an argument is invalid, or if no structure can be imported. See `import_source` for further errors.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    check_compression(compression)
    ranks = Ranks()
    if scheduler is not None and ranks.size > 1:
        raise ValueError(
            f"a scheduler and {ranks.size} ranks are mutually exclusive; start a single process, without "
            "mpirun"
        )
    path = Path(dest).resolve()
    locked: list[PartialDirectory] = []

    def begin() -> tuple[Path, list[Part], dict[str, Any]]:
        """Lock the directory and divide the work. Called on rank 0."""
        directory = PartialDirectory(path, overwrite=overwrite)
        facts = source.describe()
        parts = source.parts(ranks.size * workers.size)
        options = {"source": facts, "parts": len(parts), "compression": compression, "on_error": on_error}
        options |= {"labels": plan.describe()} if plan is not None else {}
        directory.create(resume=resume)
        locked.append(directory)
        _follow_options(directory.path, options)
        return directory.path, parts, facts

    def publish() -> None:
        for directory in locked:
            directory.publish()

    try:
        # The processes start while this process reads the source.
        with _pool(jobs, scheduler, _reporter(progress)) as workers:
            place, parts, facts = ranks.first(begin)
            writers = [
                PartWriter(part, place / shard_name(number), plan, on_error, compression)
                for number, part in enumerate(parts)
            ]
            counts = ranks.each(lambda: workers.write(writers[ranks.rank :: ranks.size]))
            skipped = ranks.first(lambda: _join_errors(place, writers))
            described = {key: value for key, value in facts.items() if key != "passed_over"}
            described |= {**about} | ({"skipped": skipped} if skipped else {})
            if not sum(chain.from_iterable(counts)):
                raise ranks.first(lambda: _nothing_imported(facts, writers))

            def draw(count: int) -> Splits:
                if not isinstance(splits, SplitPlan):
                    return splits(count)
                each = [counts[number % ranks.size][number // ranks.size] for number in range(len(writers))]
                shards = [writer.shard for writer in writers]
                return splits.draw(Written(shards, each, compression, workers.summarize))

            manifest = _assemble(
                ranks,
                workers,
                place,
                name=path.name,
                source=described,
                splits=draw,
                units=units,
                compression=compression,
                transforms=transforms,
                class_names=class_names,
                classes=() if plan is None else plan.classes,
                strict=plan is not None,
            )
            if plan is not None:
                manifest = ranks.first(lambda: _with_account(place, manifest, facts, writers, plan, splits))
            if unchanged is not None:
                ranks.first(unchanged)
        ranks.first(publish)
    except BaseException as error:
        kept = (
            0
            if isinstance(error, Unusable | KindConflict | NoMatch)
            else sum(_committed(directory.path) for directory in locked)
        )
        for directory in locked:
            directory.release(keep=bool(kept))
        if (
            kept
            and isinstance(error, ValueError | OSError | RuntimeError)
            and not isinstance(error, OtherOptions)
        ):
            remedy = f"kept {kept:,} structure(s); pass resume=True (--resume) to continue after them"
            raise with_message(error, f"{error}; {remedy}") from error
        raise
    for directory in locked:
        directory.release()
    return manifest


def _assemble(ranks: Ranks, workers: Pool, place: Path, **options: Any) -> Manifest:
    """Summarize the shards on all ranks, and write the manifest on rank 0."""
    if ranks.size == 1:
        return assemble(place, summarize=workers.summarize, **options)
    known_to_all = False

    def summarize(works: Sequence[Any]) -> list[Any]:
        nonlocal known_to_all
        known_to_all = True
        shared = ranks.first(lambda: works)
        each = ranks.each(lambda: list(workers.summarize(shared[ranks.rank :: ranks.size])))
        known_to_all = False
        return [each[number % ranks.size][number // ranks.size] for number in range(len(shared))]

    def write() -> Manifest:
        return assemble(place, summarize=summarize, **options)

    def failed() -> Manifest:
        raise failure

    if ranks.rank:
        summarize([])
        return ranks.first(write)  # not called on this rank: returns the manifest of rank 0
    try:
        manifest = write()
    except Exception as error:
        failure = error
        if known_to_all:
            raise
        return ranks.first(failed)
    return ranks.first(lambda: manifest)


def _follow_options(directory: Path, options: dict[str, object]) -> None:
    """Write the options of the import. If an interrupted import left its own, check that they are equal."""
    file = directory / _OPTIONS_FILE
    text = json.dumps(options, indent=1)
    if not file.exists():
        file.write_text(text, encoding="utf-8")
        return
    begun, now = json.loads(file.read_text(encoding="utf-8")), json.loads(text)
    different = [
        f"{key} was {begun.get(key)} and is now {now[key]}" for key in now if begun.get(key) != now[key]
    ]
    if different:
        raise OtherOptions(
            f"the interrupted import cannot be continued, because {' and '.join(different)}; "
            "use the same source and options, or start again without resume (--resume)"
        )


def _committed(directory: Path) -> int:
    """Return the number of records in the shards."""
    try:
        return sum(count_records(shards_in(directory)))
    except (OSError, ValueError):
        return 0


def _join_errors(directory: Path, writers: Sequence[PartWriter]) -> int:
    """Join the lists of skipped structures of all parts, and return the number of structures."""
    lines = [
        json.dumps({key: line[key] for key in ("place", "error")}) + "\n"
        for writer in writers
        for line in writer.log.lines()
        if line["kind"] == "skipped"
    ]
    if lines:
        (directory / ERRORS_FILE).write_text("".join(lines), encoding="utf-8")
    return len(lines)


def _nothing_imported(facts: Mapping[str, Any], writers: Sequence[PartWriter]) -> ValueError:
    errors = [line for writer in writers for line in writer.log.lines() if line["kind"] == "skipped"]
    if not errors:
        return ValueError(f"{facts.get('origin')!r} contains no structures")
    first = errors[0]["error"]
    place = "" if first.startswith(errors[0]["place"]) else f"{errors[0]['place']}: "
    return ValueError(
        f"no structure could be imported; {len(errors):,} were skipped because of errors, the first one is "
        f"{place}{first}"
    )


def _with_account(
    directory: Path,
    manifest: Manifest,
    facts: Mapping[str, Any],
    writers: Sequence[PartWriter],
    plan: LabelPlan,
    splits: object,
) -> Manifest:
    """Add the account to the manifest, after a check that the import found the targets.

    Raises
    ------
    Unusable
        If there are no targets, although an import without targets was not requested, or if a requested
        target does not exist.
    """
    account = make_account(facts, [writer.log for writer in writers], manifest.schema, manifest.num_samples)
    check_targets(account, plan)
    about: dict[str, object] = {}
    if isinstance(splits, SplitPlan):
        about["split"] = splits.about
        account["notes"] = [*account["notes"], *splits.notes]
    manifest.write(directory)
    account["findings"] = _findings(directory)
    manifest = replace(manifest, source={**manifest.source, **about, "account": account})
    manifest.write(directory)
    return manifest


def _findings(directory: Path) -> list[dict[str, str]]:
    """Check some samples against the laws of physics, and log the findings."""
    from mml_data.physics.quick import quick_findings

    try:
        found = quick_findings(directory)
    except (ArithmeticError, IndexError, ValueError) as error:  # the import is complete nevertheless
        logger.warning("the labels could not be checked (%s); run `matsciml data check`", error)
        return []
    for each in found:
        logger.warning(
            "check of some samples: %s; %s (`matsciml data check` checks all)", each.message, each.advice
        )
    return [
        {"check": each.check, "severity": each.severity, "message": each.message, "advice": each.advice}
        for each in found
    ]


def _pool(jobs: int, scheduler: str | None, report: Callable[[int], object]) -> Pool:
    if scheduler is None:
        return Workers(jobs, report)
    from mml_data.importers.dask_workers import DaskWorkers

    return DaskWorkers(scheduler, report, jobs if jobs > 1 else None)


def _reporter(progress: Progress) -> Callable[[int], object]:
    if callable(progress):
        return progress
    reported = 0

    def report(done: int) -> None:
        nonlocal reported
        if progress and done // _LOG_EVERY > reported // _LOG_EVERY:
            logger.info("finished %d structures", done)
        reported = done

    return report
