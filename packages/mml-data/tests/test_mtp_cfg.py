import numpy as np
import pytest
from mml_data.importers.readers.mtp_cfg import FORMAT, read_cfg

CONFIGURATION = """BEGIN_CFG
 Size
    2
 Supercell
         4.0      0.0      0.0
         0.5      4.0      0.0
         0.0      0.0      5.0
 AtomData:  id type       cartes_x      cartes_y      cartes_z           fx          fy          fz
             1    0       0.0      0.0      0.0     0.1   0.2   0.3
             2    1       2.0      2.0      2.5    -0.1  -0.2  -0.3
 Energy
        -12.5
 PlusStress:  xx          yy          zz          yz          xz          xy
     8.0     16.0     24.0    1.0    2.0    3.0
 Feature   EFS_by       VASP
END_CFG

"""


def frames(path, text, **options):
    path.write_text(text)
    return [item for _, item in read_cfg(path, **options)]


def test_configuration_is_read(tmp_path):
    assert FORMAT.matches("a.cfg", CONFIGURATION.encode())
    first, second = frames(tmp_path / "a.cfg", CONFIGURATION * 2, elements=("Si", "O"))
    assert first["atomic_numbers"] == second["atomic_numbers"] == [14, 8]
    np.testing.assert_array_equal(first["cell"], [[4, 0, 0], [0.5, 4, 0], [0, 0, 5]])
    np.testing.assert_array_equal(first["atom_labels"]["forces"], [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
    assert first["labels"]["energy"] == -12.5
    np.testing.assert_allclose(first["labels"]["stress"] * -80, [[8, 3, 2], [3, 16, 1], [2, 1, 24]])
    assert (first["pbc"], first["extra"]) == ([True] * 3, {"EFS_by": "VASP"})


def test_old_stress_has_opposite_sign(tmp_path):
    (new,) = frames(tmp_path / "a.cfg", CONFIGURATION, elements=("Si", "O"))
    (old,) = frames(tmp_path / "a.cfg", CONFIGURATION.replace("PlusStress", "Stress"), elements=("Si", "O"))
    np.testing.assert_array_equal(new["labels"]["stress"], -old["labels"]["stress"])


def test_order_of_components_is_that_of_line(tmp_path):
    text = CONFIGURATION.replace("yz          xz          xy", "xy yz xz")
    (found,) = frames(tmp_path / "a.cfg", text, elements=("Si", "O"))
    np.testing.assert_allclose(found["labels"]["stress"] * -80, [[8, 1, 3], [1, 16, 2], [3, 2, 24]])


def test_types_without_elements_are_item(tmp_path):
    (error,) = frames(tmp_path / "a.cfg", CONFIGURATION)
    assert "has the types 0 to 1 but does not name their elements" in str(error)


def test_cluster_has_no_cell_and_no_stress(tmp_path):
    lines = CONFIGURATION.splitlines()
    text = "\n".join(lines[:3] + lines[7:]) + "\n"
    (found,) = frames(tmp_path / "a.cfg", text, elements=("Si", "O"))
    assert (found["cell"], found["pbc"]) == (None, [False] * 3)
    assert "stress" not in found["labels"]


def test_direct_coordinates_are_converted(tmp_path):
    text = CONFIGURATION.replace("cartes", "direct").replace("2.0      2.0      2.5", "0.5      0.5      0.5")
    (found,) = frames(tmp_path / "a.cfg", text, elements=("Si", "O"))
    np.testing.assert_allclose(found["positions"][1], [2.25, 2, 2.5])


def test_damaged_configuration_is_item(tmp_path):
    items = frames(
        tmp_path / "a.cfg", CONFIGURATION.replace("-12.5", "x") + CONFIGURATION[:200], elements=("Si", "O")
    )
    assert [type(item) for item in items] == [ValueError, ValueError]
    assert "truncated" in str(items[1])


def test_types_without_size_are_item(tmp_path):
    (error,) = frames(tmp_path / "a.cfg", CONFIGURATION.replace("AtomData", "Atoms"), elements=("Si", "O"))
    assert "unknown field" in str(error)


@pytest.mark.parametrize("head", [b"", b"Number of particles = 2\n"])
def test_other_cfg_does_not_match(head):
    assert not FORMAT.matches("a.cfg", head)
