import numpy as np
import pytest
from mml_data.importers.readers.ase_file import FORMAT, read_with_ase

ase = pytest.importorskip("ase")
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402
from ase.io import write  # noqa: E402


def test_trajectory_is_read(tmp_path):
    frames = []
    for number in range(3):
        atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.7 + number]])
        atoms.calc = SinglePointCalculator(atoms, energy=-float(number), forces=np.full((2, 3), number))
        frames.append(atoms)
    write(tmp_path / "a.traj", frames)
    items = list(read_with_ase(tmp_path / "a.traj"))
    assert [item["labels"]["energy"] for _, item in items] == [0, -1, -2]
    assert items[2][1]["atom_labels"]["forces"].tolist() == [[2, 2, 2], [2, 2, 2]]
    assert items[2][0].endswith("a.traj:3")


def test_damaged_file_ends_with_error(tmp_path):
    (tmp_path / "a.traj").write_bytes(b"not a trajectory")
    ((place, item),) = read_with_ase(tmp_path / "a.traj")
    assert place.endswith("a.traj:1")
    assert str(item).startswith("ASE cannot read this structure: ")


@pytest.mark.parametrize("name", ["readme.md", "run.log", "in.txt", "setup.py", "plot.png"])
def test_other_files_do_not_match(name):
    assert not FORMAT.matches(name, b"some text\nof a person\n")
