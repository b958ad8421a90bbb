import numpy as np
import pytest
from mml_data.importers.readers.table_rows import convert_row, has_structures

CELL = [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]
COLABFIT = {
    "configuration_id": "CO_1",
    "atomic_numbers": [11, 17],
    "positions": [[0, 0, 0], [2, 2, 2]],
    "cell": CELL,
    "pbc": [True, True, False],
    "energy": -7.0,
    "atomic_forces": [[0.1, 0, 0], [-0.1, 0, 0]],
    "cauchy_stress": np.eye(3).tolist(),
    "electronic_band_gap": None,
    "metadata": {"a": 1},
}
FE = {"lattice": {"matrix": CELL}, "sites": [{"species": [{"element": "Fe", "occu": 1}], "abc": [0, 0, 0]}]}


def test_colabfit_row_is_read():
    found = convert_row(COLABFIT)
    assert (found["atomic_numbers"], found["pbc"], found["sample_id"]) == (
        [11, 17],
        [True, True, False],
        "CO_1",
    )
    assert found["labels"] == {"energy": -7.0, "cauchy_stress": np.eye(3).tolist()}
    np.testing.assert_array_equal(found["atom_labels"]["forces"], COLABFIT["atomic_forces"])
    assert found["extra"] == {"configuration_id": "CO_1", "metadata": {"a": 1}}


def test_symbols_and_other_names_are_read():
    row = {"symbols": ["Na", "Cl"], "pos": [[0, 0, 0], [2, 2, 2]], "gap": 1.5}
    found = convert_row(row)
    assert (found["atomic_numbers"], found["cell"], found["pbc"]) == ([11, 17], None, [False] * 3)
    assert found["labels"] == {"gap": 1.5}


def test_zero_cell_means_molecule():
    found = convert_row(COLABFIT | {"cell": np.zeros((3, 3)).tolist(), "pbc": [False] * 3})
    assert found["cell"] is None


def test_column_of_structures_is_read():
    found = convert_row({"material_id": "mp-1", "structure": FE, "e": -1.0, "missing": None})
    assert (found["atomic_numbers"], found["sample_id"]) == ([26], "mp-1")
    assert found["labels"] == {"material_id": "mp-1", "e": -1.0}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (list(COLABFIT), True),
        (["lattice_vectors", "cartesian_site_positions", "species_at_sites"], True),
        (["structure", "x"], True),
        (["id", "target"], False),
        (["elements", "x"], False),
    ],
)
def test_columns_tell_whether_rows_have_structures(columns, expected):
    assert has_structures(columns) == expected
