import numpy as np
import pytest
import torch
from mml_data.importers.labels import LabelPlan
from mml_data.importers.structure import from_pymatgen, from_structure_dict, plain, to_sample

CUBE = [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]]
COPPER = {"atomic_numbers": [29], "positions": [[0.0, 1.0, 2.0]], "cell": CUBE}


def test_structure_becomes_sample():
    structure = {
        **COPPER,
        "pbc": [True, True, False],
        "targets": {"energy": -3.5},
        "extra": {"note": "x"},
        "sample_id": 7,
    }
    sample, _ = to_sample(structure, LabelPlan())
    assert sample["atomic_numbers"].dtype == np.uint8
    assert (sample["pos"].dtype, sample["pos"].tolist()) == (np.float64, [[0.0, 1.0, 2.0]])
    assert sample["cell"].tolist() == [CUBE]
    assert sample["pbc"].tolist() == [True, True, False]
    assert (sample["targets"], sample["extra"], sample["sample_id"]) == ({"energy": -3.5}, {"note": "x"}, "7")


def test_float32_positions_stay_float32():
    structure = {**COPPER, "positions": torch.zeros(1, 3), "cell": np.array(CUBE, np.float32)}
    sample, _ = to_sample(structure, LabelPlan())
    assert (sample["pos"].dtype, sample["cell"].dtype) == (np.float32, np.float32)


def test_molecule_has_no_cell():
    sample, _ = to_sample({**COPPER, "cell": None}, LabelPlan())
    assert "cell" not in sample
    assert sample["pbc"].tolist() == [False] * 3


def test_cell_without_pbc_is_periodic():
    assert to_sample(COPPER, LabelPlan())[0]["pbc"].tolist() == [True] * 3


def test_slab_may_have_zero_vector():
    cell = [[3.0, 0, 0], [0, 3.0, 0], [0, 0, 0]]
    sample, _ = to_sample({**COPPER, "cell": cell, "pbc": [True, True, False]}, LabelPlan())
    assert sample["cell"].tolist() == [cell]
    with pytest.raises(ValueError, match="'cell' has zero volume"):
        to_sample({**COPPER, "cell": cell}, LabelPlan())


def test_pymatgen_objects_and_dicts_agree():
    core = pytest.importorskip("pymatgen.core")
    lattice = core.Lattice.from_parameters(3, 4, 5, 80, 95, 105, pbc=(True, True, False))
    structure = core.Structure(
        lattice, ["Fe2+", "O2-"], [[0.1, 0.2, 0.3], [0.6, -0.2, 1.1]], site_properties={"magmom": [0.5, None]}
    )
    molecule = core.Molecule(["O", "H"], [[0.0, 0, 0], [0, 0, 0.96]])
    for made in (structure, molecule):
        found, same = from_pymatgen(made), from_structure_dict(made.as_dict())
        assert found.keys() == same.keys()
        assert found["atomic_numbers"] == same["atomic_numbers"] == [site.specie.Z for site in made]
        np.testing.assert_allclose(found["positions"], made.cart_coords, atol=1e-12)
        np.testing.assert_allclose(same["positions"], made.cart_coords, atol=1e-12)
    assert from_pymatgen(structure)["pbc"] == from_structure_dict(structure.as_dict())["pbc"]
    assert from_pymatgen(structure)["pbc"] == [True, True, False]
    assert from_pymatgen(structure)["extra"] == {"magmom": [0.5, None]}


@pytest.mark.parametrize(
    ("species", "message"),
    [
        ([{"element": "Na", "occu": 0.5}, {"element": "K", "occu": 0.5}], r"occupied by Na 0\.5, K 0\.5"),
        ([{"element": "Na", "occu": 0.9}], r"occupied by Na 0\.9"),
        ([{"element": "Xx", "occu": 1}], "'Xx' is not a chemical element"),
    ],
)
def test_invalid_site_raises(species, message):
    with pytest.raises(ValueError, match=message):
        from_structure_dict({"sites": [{"species": species, "xyz": [0, 0, 0]}]})


def test_structure_without_sites_raises():
    with pytest.raises(ValueError, match="the structure has no 'sites'"):
        from_structure_dict({"sites": []})
    with pytest.raises(ValueError, match="the structure has no atoms"):
        from_pymatgen({"_sites": []})


def test_plain_converts_to_storable_data():
    value = {1: (np.float32(0.5), {True}), "text": np.array(["a"]), "none": None, "path": ValueError("x")}
    assert plain(value) == {"1": [0.5, [True]], "text": ["a"], "none": None, "path": "x"}
    assert plain(torch.arange(3)).tolist() == [0, 1, 2]
