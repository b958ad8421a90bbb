from pathlib import Path

import numpy as np
import pytest
from mml_data.importers.readers.cif import read_cif

pytest.importorskip("pymatgen.core")
CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures" / "07-cif"
HEAD = """data_{name}
_symmetry_space_group_name_H-M   'P 1'
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
{formula}
loop_
_symmetry_equiv_pos_as_xyz
'x, y, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""


def block(*sites, name="x", formula=""):
    return HEAD.format(name=name, formula=formula) + "\n".join(sites) + "\n"


def read(path, text):
    path.write_text(text)
    return [item for _, item in read_cif(path)]


def test_blocks_are_independent(tmp_path):
    good = block("Na1 Na 0 0 0 1", "Cl1 Cl 0.5 0.5 0.5 1", name="good")
    bad = block("Na1 Na 0 0 0 0.5", "K1 K 0 0 0 0.5", name="bad")
    text = "data_global\n_journal_year 1999\n" + good + bad + good.replace("good", "again")
    first, second, third = read(tmp_path / "a.cif", text)
    assert first["atomic_numbers"] == third["atomic_numbers"] == [11, 17]
    np.testing.assert_allclose(first["positions"], [[0, 0, 0], [2, 2, 2]])
    assert first["extra"]["block"] == "good"
    assert first["warnings"] == ["the block 'global' has no atoms"]
    assert "a site is occupied by" in str(second)
    assert "warnings" not in third


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (block("Na1 Na 0 0 0 0.8"), "a site is occupied by Na 0.8"),
        (block("Na1 Na 0 0 0 0.9", "K1 K 0 0 0 0.9"), "Occupancy 1.8"),
        (
            block("O1 O 0 0 0 1", formula="_chemical_formula_sum 'H2 O1'\n_cell_formula_units_Z 1"),
            "the structure is not that of the file: .*Missing elements H",
        ),
        (
            block(
                "Na1 Na 0 0 0 1",
                "Cl1 Cl .5 .5 .5 1",
                "Cl2 Cl .5 .5 0 1",
                formula="_chemical_formula_sum 'Na1 Cl1'",
            ),
            "the structure is not that of the file: .*Incorrect stoichiometry",
        ),
        ("data_x\n_cell_length_a 3\n", "no block has atoms"),
        ("", "no block has atoms"),
    ],
)
def test_wrong_structure_is_an_error(tmp_path, text, message):
    (item,) = read(tmp_path / "a.cif", text)
    assert isinstance(item, ValueError)
    with pytest.raises(ValueError, match=message):
        raise item


def test_isotope_is_reported(tmp_path):
    (item,) = read(tmp_path / "a.cif", block("O1 O 0 0 0 1", "D1 D 0.25 0 0 1"))
    assert sorted(item["atomic_numbers"]) == [1, 8]
    assert "the isotope D is imported as H" in item["warnings"]


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not available")
def test_shared_cases():
    found = {file.name: [item for _, item in read_cif(file)] for file in sorted(CASES.glob("*.cif"))}
    errors = {name: [isinstance(item, ValueError) for item in items] for name, items in found.items()}
    assert errors == {
        "deut.cif": [False],
        "disord.cif": [True],
        "empty.cif": [True],
        "global-then-good.cif": [False],
        "good.cif": [False],
        "multi-disordered.cif": [False, True, False],
        "multi-with-bad.cif": [False, True, False],
        "over.cif": [True],
        "ox.cif": [False],
        "symnoops.cif": [False],
        "uncertain.cif": [True],
        "vac.cif": [True],
    }
    assert len(found["symnoops.cif"][0]["atomic_numbers"]) == 8
