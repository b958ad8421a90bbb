"""Unusual and malformed frames of extended XYZ."""

import numpy as np
import pytest
from mml_data.importers.readers.extended_xyz import read_xyz

pytest.importorskip("extxyz")


def frames(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [item for _, item in read_xyz(path)]


def test_vectors_after_atoms_are_cell(tmp_path):
    frame = "1\nold\nNa 0 0 0\nVEC1 4 0 0\nVEC2 0 5 1\n"
    found = frames(tmp_path / "a.xyz", frame * 2)
    assert len(found) == 2
    for each in found:
        np.testing.assert_array_equal(each["cell"], [[4, 0, 0], [0, 5, 1], [0, 0, 0]])
        assert each["pbc"].tolist() == [True, True, False]
    (error,) = frames(tmp_path / "a.xyz", "1\nold\nNa 0 0 0\nVEC2 4 0 0\n")
    assert "the lattice vectors must be VEC1, VEC2 and VEC3" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "3\nProperties=species:S:1:pos:R:3 energy=-1.5\nO 0 0 0\nD 0 0 1\nD 0 1 0\n",
        "\ufeff3\nProperties=species:S:1:pos:R:3 energy=-1.5\nO 0 0 0\nD 0 0 1\nD 0 1 0",
        "3\r\nenergy=-1.5\r\nO 0 0 0\r\nD 0 0 1\r\nD 0 1 0\r\n",
        "\n\n3\nenergy=-1.5 author=Müller flag\nO 0 0 0\nD 0 0 1\nD 0 1 0\n\n",
        "3\nenergy=-1.5 author=Müller\nO 0 0 0\nD 0 0 1\nD 0 1 0\n".encode("latin-1"),
    ],
)
def test_dialects_have_same_structure(tmp_path, text):
    (found,) = frames(tmp_path / "a.xyz", text)
    assert found["atomic_numbers"].tolist() == [8, 1, 1]
    np.testing.assert_array_equal(found["positions"], [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert (found["cell"], float(found["labels"]["energy"])) == (None, -1.5)
    assert found["warnings"] == ["the isotope D is imported as H"]


def test_columns_without_name_are_reported(tmp_path):
    (found,) = frames(tmp_path / "a.xyz", "1\nname\nO 0 0 0 1.5\n")
    assert found["extra"] == {"frame": 0, "comment": "name"}
    assert found["warnings"] == ["the columns after number 4 of 5 are not read; name them in Properties"]


def test_large_integers_are_kept_or_refused(tmp_path):
    frame = "1\nProperties=species:S:1:pos:R:3:id:I:1 n={} m=2\nH 0 0 0 {}\n"
    (found,) = frames(tmp_path / "a.xyz", frame.format(9999999999, 7))
    assert (int(found["labels"]["n"]), found["atom_labels"]["id"].tolist()) == (9999999999, [7])
    (error,) = frames(tmp_path / "a.xyz", frame.format(1, 8888888888))
    assert "8888888888 out of bounds" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "0\n\n",
        "-1\n\nH 0 0 0\n",
        "99999999999999999999\n\nH 0 0 0\n",
        "1\nProperties=1.5\nH 0 0 0\n",
        "1\nProperties=T\nH 0 0 0\n",
        "1\nProperties=species:S:1:pos:R:9999999999999\nH 0 0 0\n",
        "1\nProperties=species:S:1:pos:R:3\nH 0 0 2" + "a" * 5000 + "\n",
    ],
)
def test_malformed_frame_is_error(tmp_path, text):
    assert isinstance(frames(tmp_path / "a.xyz", text)[0], ValueError)
