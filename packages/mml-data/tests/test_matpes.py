import numpy as np
from mml_data.importers.readers.matpes import DIALECT

SALT = {
    "lattice": {"matrix": [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]},
    "sites": [
        {"species": [{"element": symbol, "occu": 1}], "abc": [x, x, x]}
        for symbol, x in (("Na", 0.0), ("Cl", 0.5))
    ],
}
FORCE = [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]

ENTRY = {
    "matpes_id": "matpes-1",
    "structure": SALT,
    "energy": -7.0,
    "forces": FORCE,
    "bandgap": 0.5,
    "nsites": 2,
}


def test_stress_is_in_order_of_voigt():
    found = DIALECT.convert(ENTRY | {"stress": [10, 20, 30, 4, 5, 6]})
    np.testing.assert_allclose(
        found["labels"].pop("stress") * 1602.176634, [[-10, -6, -5], [-6, -20, -4], [-5, -4, -30]]
    )
    assert found["labels"] == {"energy": -7.0, "bandgap": 0.5}
    assert found["atom_labels"] == {"forces": FORCE}
    assert found["sample_id"] == "matpes-1"
    assert found["extra"] == {"nsites": 2}


def test_stress_may_be_matrix_or_null():
    matrix = np.arange(9).reshape(3, 3).tolist()
    found = DIALECT.convert(ENTRY | {"stress": None, "stress_matrix": matrix})
    np.testing.assert_allclose(found["labels"]["stress"] * 1602.176634, -np.array(matrix))
    assert "stress" not in DIALECT.convert(ENTRY | {"stress": None})["labels"]
