"""`matsciml predict FILE...`: predict the structures in files with a trained model."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from rich.console import Console
from rich.table import Table

from matsciml.report.json_values import json_value
from matsciml.runs.run_directory import find_checkpoint
from matsciml.units import SCALE, UNITS

if TYPE_CHECKING:
    from mml_samples import Batch, Sample

    from matsciml.runs.trained import Trained

MOST_ROWS = 20
# Keys that are passed to the model. Annotations that only some structures have cannot be collated.
_KEPT = ("atomic_numbers", "pos", "cell", "pbc", "sample_id", "charge", "spin")
# Mapping from target names to the result names of ASE's calculators.
_RESULTS = {"energy": "energy", "force": "forces", "stress": "stress"}


Value = torch.Tensor | int | str
"""A predicted value or a label: numbers, or the number or name of a class."""


class Prediction(NamedTuple):
    """The predictions for one structure.

    Attributes
    ----------
    name
        Name of the structure.
    sample
        The structure, before the transforms.
    values
        Predicted values by target; names or numbers of classes. NaN if the structure has no such quantity, as
        the stress of a molecule.
    labels
        Labels in the file by target, in the shape of the predicted value. NaN if a component is missing.
    """

    name: str
    sample: Sample
    values: dict[str, Value]
    labels: dict[str, Value]


def prediction_parser() -> argparse.ArgumentParser:
    """Create the parser of `matsciml predict FILE...`."""
    parser = argparse.ArgumentParser(
        prog="matsciml predict",
        allow_abbrev=False,
        add_help=False,  # `training_help` also describes predictions without files
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="structures (CIF, POSCAR, ...)")
    parser.add_argument(
        "--ckpt_path", default="best", metavar="FILE", help="best, last or a file (default: best)"
    )
    parser.add_argument("--name", help="name of the run (default: fit)")
    parser.add_argument("--runs_dir", help="directory of all runs (default: runs)")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="config of the run (default: config.yaml of the checkpoint's run)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("predictions.extxyz"),
        metavar="FILE",
        help="output file, .extxyz or .jsonl (default: predictions.extxyz)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output file if it exists")
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="number of structures per batch (default: 16)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or xpu (default: cpu)")
    parser.add_argument(
        "--unknown-elements",
        choices=("refuse", "warn"),
        default="refuse",
        help="action for elements that the training data did not contain (default: refuse)",
    )
    return parser


def predict_files(options: argparse.Namespace) -> int:
    """Predict the structures in files, print a table of the first ones, and write all predictions to a file.

    Parameters
    ----------
    options
        Arguments parsed by `prediction_parser`.

    Raises
    ------
    FileExistsError
        If the output file exists and ``--overwrite`` is not set.
    FileNotFoundError
        If an input file or the checkpoint does not exist.
    ValueError
        If an option is invalid, a structure cannot be predicted, or the files contain no structures.
    ImportError
        If the output format needs ASE and ASE is not installed.
    """
    write = _writer(options.out)
    for file in options.files:
        if not file.exists():
            raise FileNotFoundError(f"{file} does not exist; pass files with structures")
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {options.batch_size}")
    if options.out.exists() and not options.overwrite:
        raise FileExistsError(
            f"{options.out} already exists; pass --overwrite to replace it, or another --out"
        )

    from mml_data.convert import read_structures

    from matsciml.runs.trained import load_trained

    checkpoint = options.ckpt_path
    if checkpoint in ("best", "last"):
        checkpoint = find_checkpoint(Path(options.runs_dir or "runs"), options.name or "fit", checkpoint)
    elif unused := [f"--{key}" for key in ("name", "runs_dir") if getattr(options, key)]:
        raise ValueError(
            f"{' and '.join(unused)} would be ignored, because --ckpt_path {checkpoint} is a file; "
            "remove one of these options"
        )
    trained = load_trained(checkpoint, options.config)
    trained.task.to(_device(options.device))
    for task in getattr(trained.task, "tasks", {"": trained.task}).values():
        task.unknown_elements = options.unknown_elements
    targets, classes = _targets_of(trained.task)
    samples = (each for file in options.files for each in read_structures(file, targets, classes))
    predicted = list(_predict(trained, samples, options.batch_size))
    if not predicted:
        raise ValueError(
            f"{', '.join(map(str, options.files))} contain no structures; pass files with structures"
        )
    partial = options.out.with_name(f".{options.out.name}.partial")
    try:
        write(partial, predicted)
        partial.replace(options.out)
    finally:
        partial.unlink(missing_ok=True)
    console = Console(highlight=False)
    console.print(_table(predicted))
    if len(predicted) > MOST_ROWS:
        console.print(f"... and {len(predicted) - MOST_ROWS:,} more")
    config = options.config or Path(checkpoint).parent.parent / "config.yaml"
    for line in _errors(predicted):
        console.print(line, soft_wrap=True)
    console.print(f"matsciml predict: {checkpoint}, config {config}", soft_wrap=True)
    console.print(f"{len(predicted):,} predictions written to {options.out}", soft_wrap=True)
    return 0


def _predict(
    trained: Trained, samples: Iterable[tuple[str, Sample]], batch_size: int
) -> Iterator[Prediction]:
    """Yield the predictions of every structure."""
    from mml_graphs import collate_samples

    while chunk := list(islice(samples, batch_size)):
        made = []
        kept = _alike([_kept(sample) for _, sample in chunk])
        for (place, _), sample in zip(chunk, kept, strict=True):
            prepared = copy(sample)
            try:
                for transform in trained.transforms:
                    prepared = transform(prepared)
                made.append(prepared)
            except Exception as error:
                raise ValueError(f"{place}: {error}") from error
        found = _by_structure(trained.task, collate_samples(made))
        for (place, given), sample, values in zip(chunk, kept, found, strict=True):
            labels = _labels(given.get("targets", {}), values)
            yield Prediction(str(sample.get("sample_id") or place), sample, values, labels)


def _kept(sample: Sample) -> Sample:
    return cast("Sample", {key: value for key, value in sample.items() if key in _KEPT})


def _alike(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Add the keys that only some of the structures have: total charges and spins of NaN, and names."""
    keys = {key for sample in samples for key in sample} & {"charge", "spin", "sample_id"}
    filled: dict[str, Any] = {key: "" if key == "sample_id" else float("nan") for key in keys}
    return [cast("Sample", {**filled, **sample}) for sample in samples]


def _targets_of(task: Any) -> tuple[list[str], list[str]]:
    """Return the names of the outputs of a task, or of all of its tasks, and of those that are classes."""
    parts = getattr(task, "tasks", {"": task}).values()
    names = [key for part in parts for key in [*(part.task_keys or []), *part.normalizers]]
    classes = [key for part in parts if hasattr(part, "predicted_labels") for key in part.task_keys or []]
    return list(dict.fromkeys(names)), list(dict.fromkeys(classes))


def _labels(targets: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the labels of the predicted values in their shapes, as far as they can be compared."""
    found: dict[str, Value] = {}
    for key, value in values.items():
        label = targets.get(key)
        if isinstance(label, torch.Tensor) and isinstance(value, torch.Tensor):
            if label.numel() == value.numel():
                found[key] = label.to(torch.float64).reshape(value.shape)
        elif label is not None and not isinstance(value, torch.Tensor):
            label = label.item() if isinstance(label, torch.Tensor) else label
            if label == label:  # not NaN
                found[key] = label if isinstance(label, str) else int(label)
    return found


def _by_structure(task: Any, batch: Batch) -> list[dict[str, Value]]:
    """Predict a batch and split the outputs by structure. Logits are converted to class labels."""
    outputs = task.predict(batch)
    parts = outputs.items() if all(isinstance(each, dict) for each in outputs.values()) else [("", outputs)]
    num_atoms = [int(n) for n in batch["natoms"].reshape(-1)]
    found: list[dict[str, Value]] = [{} for _ in num_atoms]
    several = len(parts) > 1
    for name, output in parts:
        part = task.tasks[name] if name else task
        for key, value in output.items():
            if key in ("natoms", "sample_id"):
                continue
            label = f"{name}_{key}" if several and _is_twice(key, parts) else key
            if hasattr(part, "predicted_labels"):
                for structure, each in zip(found, part.predicted_labels(key, value), strict=True):
                    structure[label] = each
                continue
            per_atom = key == "force" or _is_of_atoms(value, num_atoms)
            rows = value.cpu().split(num_atoms) if per_atom else value.cpu()
            for structure, row in zip(found, rows, strict=True):
                structure[label] = row
    return found


def _is_twice(key: str, parts: Iterable[tuple[str, Mapping[str, object]]]) -> bool:
    return Counter(name for _, output in parts for name in output)[key] > 1


def _is_of_atoms(value: torch.Tensor, num_atoms: Sequence[int]) -> bool:
    return len(value) == sum(num_atoms) and len(value) != len(num_atoms)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"--device {name} is not available: {first}") from error
    return device


def _table(predicted: Sequence[Prediction]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("structure", overflow="fold")
    table.add_column("atoms", justify="right")
    for key in predicted[0].values:
        head = f"max |{key}|" if key == "force" else key
        table.add_column(f"{head} ({UNITS[key]})" if key in UNITS else head, justify="right", overflow="fold")
    labeled = [key for key in predicted[0].values if any(key in each.labels for each in predicted)]
    for key in labeled:
        table.add_column("label" if len(labeled) == 1 else f"{key} label", justify="right", overflow="fold")
    for name, sample, values, labels in predicted[:MOST_ROWS]:
        shown = [_short(key, value) for key, value in values.items()]
        known = [_short(key, labels[key]) if key in labels else "-" for key in labeled]
        table.add_row(name, f"{len(sample['atomic_numbers'])}", *shown, *known)
    return table


def _errors(predicted: Sequence[Prediction]) -> Iterator[str]:
    """Describe the errors of the predictions that have a label, over all structures, in one line each."""
    for key, first in predicted[0].values.items():
        pairs = [(each.values[key], each.labels[key]) for each in predicted if key in each.labels]
        if not pairs:
            continue
        if not isinstance(first, torch.Tensor):
            right = sum(str(value) == str(label) for value, label in pairs)
            yield f"{key}: {right / len(pairs):.1%} of {len(pairs):,} labeled structures correct"
            continue
        sizes = [len(each.sample["atomic_numbers"]) for each in predicted if key in each.labels]
        parts = [
            (cast("torch.Tensor", value) - cast("torch.Tensor", label)).reshape(-1)
            / (size if key == "energy" else 1)
            for (value, label), size in zip(pairs, sizes, strict=True)
        ]
        errors = torch.cat(parts)
        known = ~errors.isnan()
        if not known.any():
            yield f"{key}: no label"
            continue
        name = "energy_per_atom" if key == "energy" else key
        factor, unit = SCALE.get(UNITS.get(name, ""), (1.0, UNITS.get(name, "")))
        count = int(known.sum())
        mae = factor * float(errors[known].abs().mean())
        yield f"{name.replace('_', ' ')}: MAE {mae:.4g} {unit}".rstrip() + f" over {count:,} labels"


def _short(key: str, value: Value) -> str:
    if not isinstance(value, torch.Tensor):
        return str(value)
    if not value.isfinite().any():
        return "-"
    if key == "force":
        return f"{value.norm(dim=-1).max():.4g}"
    if value.numel() == 1:
        return f"{value.item():.6g}"
    return "[" + " ".join(f"{number:.3g}" for number in value.reshape(-1)[:9].tolist()) + "]"


def _writer(path: Path) -> Callable[[Path, Iterable[Prediction]], None]:
    """Return the function that writes predictions in the format of the file's suffix."""
    if path.suffix == ".jsonl":
        return _write_lines
    if path.suffix not in (".extxyz", ".xyz"):
        raise ValueError(f"--out must end with .extxyz, .xyz or .jsonl, got {path}")
    if find_spec("ase") is None:
        raise ImportError(
            f"writing {path} requires ASE, which is not installed: pip install 'matsciml[ase]', or "
            "pass --out FILE.jsonl"
        )
    return _write_extxyz


def _write_lines(path: Path, predicted: Iterable[Prediction]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for name, sample, values, labels in predicted:
            line: dict[str, Any] = {"sample_id": name, "natoms": len(sample["atomic_numbers"])}
            line |= {key: _json(key, value) for key, value in values.items()}
            line |= {f"{key}_label": _json(key, value) for key, value in labels.items()}
            file.write(json.dumps(line) + "\n")


def _json(key: str, value: Value) -> Any:
    return json_value(value, single=key != "force") if isinstance(value, torch.Tensor) else value


def _write_extxyz(path: Path, predicted: Iterable[Prediction]) -> None:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write
    from ase.stress import full_3x3_to_voigt_6_stress

    frames = []
    for name, sample, values, labels in predicted:
        atoms = Atoms(
            numbers=sample["atomic_numbers"].numpy(),
            positions=sample["pos"].numpy(),
            cell=sample["cell"].reshape(3, 3).numpy() if "cell" in sample else None,
            pbc=sample["pbc"].numpy(),
            info={"sample_id": name},
        )
        results = {}
        for key, value in [*values.items(), *((f"{key}_label", label) for key, label in labels.items())]:
            if not isinstance(value, torch.Tensor):
                atoms.info[key] = value
                continue
            if not value.isfinite().any():
                continue  # such as the stress of a molecule
            array = value.to(torch.float64).numpy() if value.is_floating_point() else value.numpy()
            if key == "stress":
                results[key] = full_3x3_to_voigt_6_stress(array.reshape(3, 3))
            elif key in _RESULTS:
                results[_RESULTS[key]] = array.item() if key == "energy" else array
            elif array.size == 1:
                atoms.info[key] = array.item()
            elif len(array) == len(atoms):
                atoms.arrays[key] = array
            else:
                atoms.info[key] = array
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    write(path, frames, format="extxyz")
