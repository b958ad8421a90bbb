"""Run all checks on a data set."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mml_data.physics.cells import check_cells
from mml_data.physics.convergence import check_convergence, check_forces, check_stuck
from mml_data.physics.duplicates import check_duplicates, check_leakage
from mml_data.physics.elements import check_elements
from mml_data.physics.energies import check_energies
from mml_data.physics.energy_force import check_energy_force
from mml_data.physics.evidence import Evidence, collect
from mml_data.physics.finding import SEVERITIES, Finding
from mml_data.physics.labels import check_labels
from mml_data.physics.lengths import check_close_atoms, check_lengths
from mml_data.physics.moments import check_moments
from mml_data.physics.net_force import check_net_force
from mml_data.physics.potential import fit_forces
from mml_data.physics.stress import check_stress, check_stress_order
from mml_data.store.stored_dataset import StoredDataset

__all__ = ["check_dataset", "check_samples", "judge"]


def check_dataset(path: str | Path, split: str | None = None) -> list[Finding]:
    """Check the labels and structures of a data set against the laws of physics.

    All samples are read once. See `check_samples`.

    Parameters
    ----------
    path
        Directory of the data set.
    split
        Name of a recorded split. Only its samples are checked.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist.
    ValueError
        If `path` is not a data set or does not have the split.
    """
    dataset = StoredDataset(path, split=split)
    return check_samples(_stored(dataset, split))


def check_samples(samples: Iterable[tuple[int, str, Mapping[str, Any]]]) -> list[Finding]:
    """Check samples, and return the findings, the most severe ones first.

    Parameters
    ----------
    samples
        Index, name of the split (or an empty string), and sample as stored, for each sample.
    """
    return judge(collect(samples))


def judge(evidence: Evidence) -> list[Finding]:
    """Return the findings that follow from measurements."""
    if not len(evidence.rows):
        return []
    lengths = check_lengths(evidence)
    fits = [] if lengths else [fit for frames in evidence.systems.values() if (fit := fit_forces(frames))]
    splits = Counter(np.array(evidence.splits, dtype=object)[evidence.rows["split"]].tolist())
    found = [
        *check_labels(evidence.labels, splits),
        *lengths,
        *check_close_atoms(evidence),
        *check_cells(evidence),
        *check_elements(evidence),
        *check_net_force(evidence),
        *check_energy_force(evidence, fits),
        *check_stress(evidence, fits),
        *check_stress_order(fits),
        *check_energies(evidence),
        *check_convergence(evidence),
        *check_forces(evidence),
        *check_stuck(evidence),
        *check_moments(evidence),
        *check_duplicates(evidence),
        *check_leakage(evidence),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _stored(dataset: StoredDataset, split: str | None) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    names = np.full(dataset.manifest.num_samples, "", dtype=object)
    for name in dataset.splits if split is None else [split]:
        names[dataset.split_indices(name)] = name
    for place, index in enumerate(dataset.indices.tolist()):
        yield index, str(names[index]), dataset.stored(place)
