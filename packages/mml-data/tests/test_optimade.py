import json

import numpy as np
import pytest
from mml_data.importers.readers.optimade import DIALECT

CELL = [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]

SPECIES = [{"name": "Fe1", "chemical_symbols": ["Fe"], "concentration": [1.0]}]
ENTRY = {"lattice_vectors": CELL, "cartesian_site_positions": [[0, 0, 0]], "species_at_sites": ["Fe1"]}
ENTRY |= {"species": SPECIES}


@pytest.mark.parametrize("species", [SPECIES, json.dumps(SPECIES)])
def test_entry_is_read(species):
    more = {"species": species, "dimension_types": [1, 1, 0], "energy": -1.0, "forces": [[0, 0, 0]]}
    entry = {"id": "x", "attributes": ENTRY | more | {"magnetic_moments": [2.2], "nsites": 1}}
    found = DIALECT.convert(entry)
    assert (found["atomic_numbers"], found["pbc"], found["sample_id"]) == ([26], [True, True, False], "x")
    np.testing.assert_array_equal(found["cell"], CELL)
    assert found["labels"] == {"energy": -1.0}
    np.testing.assert_array_equal(found["atom_labels"]["magmom"], [2.2])
    assert found["extra"] == {"nsites": 1}


@pytest.mark.parametrize(
    ("symbols", "amounts"), [(["Fe", "Ni"], [0.5, 0.5]), (["Fe"], [0.9]), (["vacancy"], [1.0])]
)
def test_disorder_raises(symbols, amounts):
    species = [{"name": "Fe1", "chemical_symbols": symbols, "concentration": amounts}]
    with pytest.raises(ValueError, match=f"'Fe1' is {symbols[0]} {amounts[0]:g}"):
        DIALECT.convert(ENTRY | {"species": species})
