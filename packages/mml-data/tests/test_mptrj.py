import numpy as np
from mml_data.importers.readers.mptrj import DIALECT

SALT = {
    "lattice": {"matrix": [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]},
    "sites": [
        {"species": [{"element": symbol, "occu": 1}], "abc": [x, x, x]}
        for symbol, x in (("Na", 0.0), ("Cl", 0.5))
    ],
}
FORCE = [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
MPTRJ = {"structure": SALT, "corrected_total_energy": -7.2, "force": FORCE, "mp_id": "mp-1"}


def test_stress_has_sign_of_ase():
    entry = MPTRJ | {"stress": [[10, 1, 0], [1, 20, 0], [0, 0, 30]], "magmom": [0.1, 0.0], "bandgap": 5.1}
    found = DIALECT.convert(entry)
    np.testing.assert_allclose(
        found["labels"]["stress"] * 1602.176634, [[-10, -1, 0], [-1, -20, 0], [0, 0, -30]]
    )
    assert found["labels"]["corrected_total_energy"] == -7.2
    assert found["atom_labels"] == {"forces": FORCE, "magmom": [0.1, 0.0]}


def test_null_magmom_is_missing():
    found = DIALECT.convert(MPTRJ | {"magmom": None, "stress": None})
    assert found["atom_labels"] == {"forces": FORCE}
    assert "stress" not in found["labels"]
