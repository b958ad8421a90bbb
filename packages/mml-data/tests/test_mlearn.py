import json
import re
from pathlib import Path

import numpy as np
import pytest
from mml_data.importers.readers.json_formats import read_json
from mml_data.importers.readers.mlearn import DIALECT

SALT = {
    "lattice": {"matrix": [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]},
    "sites": [
        {"species": [{"element": symbol, "occu": 1}], "abc": [x, x, x]}
        for symbol, x in (("Na", 0.0), ("Cl", 0.5))
    ],
}
FORCE = [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "mlearn"
OUTPUTS = {"energy": -7.0, "forces": FORCE, "virial_stress": [10, 20, 30, 4, 5, 6]}
ENTRY = {"structure": SALT, "outputs": OUTPUTS}
PUBLISHED = {"tag": "train", "group": "Elastic", "description": "", "element": "Mo"}


@pytest.mark.parametrize(
    ("more", "xy", "yz", "xz"),
    [
        ({}, 4, 5, 6),
        (PUBLISHED, 4, 6, 5),
        (PUBLISHED | {"element": "Si"}, 4, 5, 6),
        (PUBLISHED | {"element": "Ge"}, 4, 5, 6),
    ],
    ids=["maml", "Mo", "Si", "Ge"],
)
def test_order_depends_on_origin(more, xy, yz, xz):
    found = DIALECT.convert(ENTRY | more)
    np.testing.assert_allclose(
        found["labels"]["stress"] * -1602.176634, [[10, xy, xz], [xy, 20, yz], [xz, yz, 30]]
    )
    assert found["labels"]["energy"] == -7.0
    assert found["atom_labels"] == {"forces": FORCE}
    assert found["extra"] == more


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not beside this checkout")
@pytest.mark.parametrize("element", ["Si", "Mo"])
def test_stress_is_derivative_of_energy(element):
    """The work of the stress along each series of strained cells equals the derivative of the energy."""
    series = {}
    for file in ("training", "test"):
        for _, structure in read_json(SHARED / f"{element}_{file}.json"):
            match = re.search(r"mode (\d), strain (\S+)", structure["extra"]["description"])
            if match:
                series.setdefault(match[1], []).append((float(match[2]), structure))
    assert len(series) == 6
    for frames in series.values():
        frames.sort(key=lambda frame: frame[0])
        strain = np.array([number for number, _ in frames])
        cells = np.array([structure["cell"] for _, structure in frames])
        energies = np.array([structure["labels"]["energy"] for _, structure in frames])
        slope = np.polynomial.Polynomial.fit(strain, energies, 6).deriv()(strain)
        rates = np.stack(
            [
                np.polynomial.Polynomial.fit(strain, each, 2).deriv()(strain)
                for each in cells.reshape(-1, 9).T
            ],
            1,
        )
        rates = np.linalg.inv(cells) @ rates.reshape(-1, 3, 3)
        stress = np.array([structure["labels"]["stress"] for _, structure in frames])
        work = np.einsum("nij,nij->n", stress, rates) * abs(np.linalg.det(cells))
        assert ((slope - work) ** 2).sum() < 0.005 * (slope**2).sum()


def test_file_is_recognized():
    assert DIALECT.owns(ENTRY)
    assert all(hint in json.dumps(ENTRY).encode() for hint in DIALECT.hints)
