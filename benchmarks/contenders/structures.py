"""The structures of all contenders: real structures if available, and cells of any size."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from contenders.face import Crystal

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DENSITY = 0.05  # atoms per cubic angstrom, typical of an oxide or a sulfide
CLOSEST = 2.0  # angstrom


def small_and_middling(n_small: int, n_middling: int) -> dict[str, tuple[str, list[Crystal]]]:
    """Return groups of Materials Project and LiPS structures, or of embedded ones, with descriptions."""
    files = SHARED / "materials_project.jsonl", SHARED / "lips.jsonl"
    if all(file.exists() for file in files):
        small, middling = (_from_lines(f, n) for f, n in zip(files, (n_small, n_middling), strict=True))
        names = "Materials Project cells", "LiPS frames"
    else:
        small = _from_devset("prototypes", n_small, 1)
        middling = _from_devset("emt", n_middling, 48)
        names = "cells of the devset 'prototypes'", "cells of the devset 'emt' with 48 atoms or more"
    return {
        "small": (f"{len(small)} {names[0]}", small),
        "middling": (f"{len(middling)} {names[1]}", middling),
    }


def random_cell(num_atoms: int, seed: int = 0) -> Crystal:
    """Return a cell of random atoms, none closer than `CLOSEST` to another.

    The atoms start on the sites of a cubic grid, and each is displaced within a ball that ensures this.
    """
    generator = np.random.default_rng([num_atoms, seed])
    spacing = DENSITY ** (-1 / 3)
    sizes = _three_factors(num_atoms)
    grid = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, 3)
    direction = generator.normal(size=(num_atoms, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = (spacing - CLOSEST) / 2 * generator.random((num_atoms, 1)) ** (1 / 3)
    positions = (grid + 0.5) * spacing + direction * length
    numbers = generator.choice([3, 8, 15, 16, 26], size=num_atoms)
    return Crystal(numbers, positions, np.diag(np.array(sizes) * spacing))


def lonely_atom(n_others: int) -> Crystal:
    """Return a cell with an atom 39.8 angstrom away from all others, or from its periodic images."""
    if not n_others:
        return Crystal(np.array([54]), np.zeros((1, 3)), np.eye(3) * 39.8)
    cluster = random_cell(n_others)
    corner = cluster.positions[np.argmax(cluster.positions @ np.ones(3))]
    atom = corner + np.ones(3) * 39.8 / math.sqrt(3)
    edge = float(np.diag(cluster.cell).max()) + 100.0
    return Crystal(np.append(cluster.numbers, 54), np.vstack([cluster.positions, atom]), np.eye(3) * edge)


def _three_factors(number: int) -> tuple[int, int, int]:
    """Return three integers with this product, as equal as possible."""
    first = max(f for f in range(1, round(number ** (1 / 3)) + 1) if number % f == 0)
    rest = number // first
    second = max(f for f in range(1, math.isqrt(rest) + 1) if rest % f == 0)
    return first, second, rest // second


def _from_lines(path: Path, limit: int) -> list[Crystal]:
    crystals = []
    with path.open(encoding="utf-8") as lines:
        for _, line in zip(range(limit), lines, strict=False):
            entry = json.loads(line)
            crystals.append(
                Crystal(
                    np.array(entry["atomic_numbers"]),
                    np.array(entry["positions"], dtype=np.float64),
                    np.array(entry["cell"], dtype=np.float64),
                )
            )
    return crystals


def _from_devset(name: str, limit: int, fewest: int) -> list[Crystal]:
    from mml_data import LMDBDataset
    from mml_data.devsets import devset_path

    crystals: list[Crystal] = []
    dataset = LMDBDataset(devset_path(name))
    for index in range(len(dataset)):
        sample = dataset[index]
        numbers, positions, cell = (sample[k].double().numpy() for k in ("atomic_numbers", "pos", "cell"))
        if len(numbers) >= fewest:
            crystals.append(Crystal(numbers.astype(np.int64), positions, cell.reshape(3, 3)))
        if len(crystals) == limit:
            break
    return crystals
