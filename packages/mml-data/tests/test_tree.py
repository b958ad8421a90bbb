import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data import LMDBDataset, LMDBWriter
from mml_data.convert import import_source
from mml_data.importers.source import balanced

core = pytest.importorskip("pymatgen.core")


def make_structure(index):
    rng = np.random.default_rng(index)
    lattice = core.Lattice.from_parameters(*rng.uniform(3, 5, 3), *rng.uniform(75, 105, 3))
    natoms = int(rng.integers(1, 5))
    return core.Structure(lattice, rng.choice(["Fe", "O", "Li"], natoms), rng.uniform(0, 1, (natoms, 3)))


STRUCTURES = [make_structure(index) for index in range(6)]


def check(sample, structure):
    """Compare what does not depend on the orientation or order of atoms."""
    found = core.Structure(
        sample["cell"][0].numpy(),
        sample["atomic_numbers"].tolist(),
        sample["pos"].numpy(),
        coords_are_cartesian=True,
    )
    assert found.composition == structure.composition
    np.testing.assert_allclose(found.lattice.parameters, structure.lattice.parameters, rtol=1e-5)
    np.testing.assert_allclose(
        np.sort(found.distance_matrix, axis=None), np.sort(structure.distance_matrix, axis=None), atol=1e-4
    )


def write_tree(root):
    for index, structure in enumerate(STRUCTURES):
        folder = root / f"{index}"
        folder.mkdir(parents=True)
        if index in (0, 1):
            structure.to(filename=str(folder / "structure.cif"))
        elif index == 2:
            structure.sort()
            structure.to(filename=str(folder / "POSCAR"), fmt="poscar")
        elif index == 3:
            structure.sort()
            structure.to(filename=str(folder / "relaxed.vasp"), fmt="poscar")
        elif index == 4:
            (folder / "entry.json").write_text(json.dumps(structure.as_dict()))
        else:
            with gzip.open(folder / "entries.json.gz", "wt") as file:
                json.dump([{"structure": structure.as_dict(), "energy": -1.5, "id": "mp-5"}], file)
        (folder / "README.txt").write_text("not a structure")
    return root


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_tree_of_files_of_several_kinds(tmp_path, jobs):
    manifest = import_source(
        write_tree(tmp_path / "tree"), tmp_path / "out", splits=(1, 0, 0), jobs=jobs, targets=["energy"]
    )
    dataset = LMDBDataset(tmp_path / "out")
    dataset.verify()
    assert (len(dataset), manifest.source["files"]) == (6, 6)
    for sample, structure in zip(dataset, STRUCTURES, strict=True):
        check(sample, structure)
    assert float(dataset[5]["targets"]["energy"]) == -1.5
    assert dataset[5]["extra"]["id"] == "mp-5"
    assert [shard.count for shard in manifest.shards] == [6] if jobs == 1 else len(manifest.shards) == 2


def test_entries_and_their_targets(tmp_path):
    entries = {
        "a": {"structure": STRUCTURES[0].as_dict(), "energy": 1, "metal": True, "note": "x"},
        "b": {"structure": STRUCTURES[1].as_dict(), "energy": 2.5, "metal": False, "note": "y"},
    }
    (tmp_path / "entries.json").write_text(json.dumps(entries))
    import_source(tmp_path / "entries.json", tmp_path / "out", splits=(0.5, 0.5, 0))
    sample = LMDBDataset(tmp_path / "out")[1]
    assert (float(sample["targets"]["energy"]), int(sample["targets"]["metal"])) == (2.5, 0)
    assert sample["target_types"] == {"regression": ["energy"], "classification": ["metal"]}
    assert sample["extra"]["note"] == "y"


DISORDERED = core.Structure(core.Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])

BAD = {
    "disorder in a CIF": ("a.cif", DISORDERED.to(fmt="cif"), r"a\.cif: .*a site is occupied by"),
    "no CIF": ("a.cif", "data_x\n_cell_length_a 3\n", r"a\.cif: the file cannot be read: "),
    "no POSCAR": ("POSCAR", "comment\n1.0\nabc\n", "POSCAR: the file cannot be read: "),
    "no JSON": ("a.json", "{", r"a\.json: the file cannot be read: JSONDecodeError"),
    "no structure in JSON": (
        "a.json",
        "[3]",
        r"a\.json:1: an entry must be an object with a structure, got int",
    ),
    "something else in JSON": (
        "a.json",
        '[{"a": 1}]',
        r"a\.json:1: an entry must have 'sites' or a 'structure', got the keys a",
    ),
    "a site without species": (
        "a.json",
        json.dumps({"lattice": {"matrix": np.eye(3).tolist()}, "sites": [{"abc": [0, 0, 0]}]}),
        "a.json: the key 'species' is missing",
    ),
    "disorder in JSON": ("a.json", json.dumps(DISORDERED.as_dict()), "a site is occupied by .*0.5"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path, name):
    file, text, message = BAD[name]
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        import_source(tmp_path / file, tmp_path / "out", splits=(1, 0, 0))
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_imported(tmp_path, samples):
    (tmp_path / "structures.docx").write_text("x")
    with pytest.raises(
        ValueError, match=r"structures\.docx' has no supported format; supported are JSON lines"
    ):
        import_source(tmp_path / "structures.docx", tmp_path / "out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        ValueError, match=r"folder' contains no files that can be imported; supported are JSON"
    ):
        import_source(tmp_path / "folder", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"nowhere' does not exist"):
        import_source(tmp_path / "nowhere", tmp_path / "out")
    with LMDBWriter(tmp_path / "set") as writer:
        writer.add(samples[0])
    with pytest.raises(ValueError, match="set' is already a data set; use it"):
        import_source(tmp_path / "set", tmp_path / "out")


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
def test_pieces_are_all_in_order(sizes, count):
    pieces = balanced(sizes, count)
    assert [number for piece in pieces for number in range(len(sizes))[piece]] == list(range(len(sizes)))
    assert len(pieces) <= count
    assert all(piece.stop > piece.start for piece in pieces)
