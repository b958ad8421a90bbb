import json

import numpy as np
import pytest
from mml_data.importers.readers.any_structure import any_structure, is_structure, labels_of

core = pytest.importorskip("pymatgen.core")

SALT = core.Structure(
    core.Lattice([[4, 0, 0], [0, 4.5, 0], [1, 0, 5]]), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.51]]
)
JARVIS = {
    "lattice_mat": SALT.lattice.matrix.tolist(),
    "coords": SALT.frac_coords.tolist(),
    "elements": ["Na", "Cl"],
    "cartesian": False,
    "props": ["", ""],
}
FORMS = {
    "pymatgen": SALT.as_dict(),
    "pymatgen JSON": json.dumps(SALT.as_dict()),
    "JARVIS": JARVIS,
    "JARVIS, Cartesian": JARVIS | {"coords": SALT.cart_coords.tolist(), "cartesian": "true"},
    "JARVIS JSON": json.dumps(JARVIS),
    "CIF": SALT.to(fmt="cif"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_give_same_structure(form):
    assert is_structure(form)
    found = any_structure(form)
    assert list(found["atomic_numbers"]) == [11, 17]
    distances = SALT.lattice.abc + SALT.lattice.angles
    lattice = core.Lattice(found["cell"])
    np.testing.assert_allclose(lattice.abc + lattice.angles, distances, atol=1e-5)
    fractional = lattice.get_fractional_coords(np.array(found["positions"]))
    np.testing.assert_allclose(fractional, SALT.frac_coords, atol=1e-5)


@pytest.mark.parametrize("value", [3, "Na Cl", {"a": 1}, [1], None, '{"a": 1}'])
def test_other_values_are_refused(value):
    assert not is_structure(value)


def test_unknown_form_raises():
    with pytest.raises(ValueError, match="unknown form"):
        any_structure({"a": 1})


def test_site_properties_are_atom_labels():
    structure = SALT.copy(
        site_properties={"magmom": [1.0, None], "vectors": [[0, 0, 1], [1, 0, 0]], "site": ["a", "b"]}
    )
    found = any_structure(structure.as_dict())
    np.testing.assert_array_equal(found["atom_labels"]["magmom"], [1, np.nan])
    assert found["atom_labels"]["vectors"].shape == (2, 3)
    assert found["extra"] == {"site": ["a", "b"]}


def test_total_charge_is_label():
    assert any_structure(SALT.as_dict() | {"charge": 2})["labels"] == {"charge": 2}
    assert "labels" not in any_structure(SALT.as_dict() | {"charge": 0})


def test_missing_values_are_left_out():
    values = {
        "a": "na",
        "b": None,
        "c": 0,
        "d": {"x": 1},
        "e": [{"x": 1}],
        "f": [1],
        "@class": "X",
        "g": "nab",
    }
    assert labels_of(values, skip=("f",)) == ({"c": 0, "g": "nab"}, {"d": {"x": 1}, "e": [{"x": 1}]})
