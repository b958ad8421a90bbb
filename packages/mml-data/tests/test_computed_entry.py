import pytest
from mml_data.importers.readers.computed_entry import DIALECT

SALT = {
    "@module": "pymatgen.core.structure",
    "@class": "Structure",
    "lattice": {"matrix": [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]},
    "sites": [
        {"species": [{"element": symbol, "occu": 1}], "abc": [x, x, x]}
        for symbol, x in (("Na", 0.0), ("Cl", 0.5))
    ],
}
ENTRY = {"@class": "ComputedStructureEntry", "energy": -7.0, "correction": 0.0, "structure": SALT}

entries = pytest.importorskip("pymatgen.entries.computed_entries")


def test_energies_equal_pymatgen():
    entry = ENTRY | {"correction": -0.5, "entry_id": "mp-1", "data": {"band_gap": 1.5, "run": {"a": 1}}}
    found = DIALECT.convert(entry)
    oracle = entries.ComputedStructureEntry.from_dict(entry | {"parameters": {}})
    assert found["labels"] == {
        "uncorrected_energy": oracle.uncorrected_energy,
        "corrected_energy": oracle.energy,
        "band_gap": 1.5,
    }
    assert found["sample_id"] == "mp-1"
    assert found["extra"] == {"run": {"a": 1}}


def test_entry_without_correction_has_energy():
    assert DIALECT.convert(ENTRY | {"correction": None})["labels"] == {"energy": -7.0}
