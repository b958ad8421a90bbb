import subprocess
import sys

import pytest
from mml_data.importers.registry import find_format, format_named, known_formats


def test_names_are_found_in_any_case():
    names = [each.name for each in known_formats()]
    assert [format_named(name.upper()).name for name in names] == names
    assert format_named("unknown") is None


PLUGIN = """
from pathlib import Path
from mml_data.importers.formats import Format

def read(path):
    for number, line in enumerate(Path(path).read_text().split()):
        yield f"{path}:{number}", {
            "atomic_numbers": [int(line)], "positions": [[0.0, 0.0, 0.0]], "labels": {"energy": float(line)},
        }

FORMAT = Format("atoms", "*.atoms", "energy (eV)", lambda name, head: name.endswith(".atoms"), read)
"""
IMPORT = """
import sys
from mml_data.convert import import_source
manifest = import_source(sys.argv[1], sys.argv[2], splits=(1, 0, 0))
print(manifest.source["format"], manifest.num_samples, manifest.schema["targets.energy"]["samples"])
"""


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.xyz", b"1\n\nH 0 0 0\n", "extended XYZ"),
        ("frames", b"1\nProperties=species:S:1:pos:R:3\nH 0 0 0\n", "extended XYZ"),
        ("POSCAR_1", b"x\n", "POSCAR"),
        ("structure", b"NaCl\n1.0\n5 0 0\n0 5 0\n0 0 5\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n", "POSCAR"),
        ("a.cif", b"", "CIF"),
        ("a.txt", b"data_x\n_cell_length_a 3\n", "CIF"),
        ("a.db", b"SQLite format 3\0", "ASE database"),
        ("a.aselmdb", b"\0", "ASE database"),
        ("README.md", b"# Data\n", None),
        ("run.log", b"step 1\n", None),
        ("notes.txt", b"12 frames\n\n", None),
        ("numbers.txt", b"3\n1 2\n3 4 5 6\n", None),
    ],
)
def test_format_follows_name_and_content(name, head, expected):
    found = find_format(name, head)
    assert (None if found is None else found.name) == expected


def test_other_package_adds_format(tmp_path):
    (tmp_path / "atoms_reader.py").write_text(PLUGIN)
    info = tmp_path / "atoms_reader-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: atoms-reader\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[mml_data.importers]\natoms = atoms_reader:FORMAT\n")
    (tmp_path / "in.atoms").write_text("1 2 3")
    command = [sys.executable, "-c", IMPORT, str(tmp_path / "in.atoms"), str(tmp_path / "out")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.stdout.split() == ["atoms", "3", "3"]
