import gzip
import json
import zipfile

import numpy as np
import pytest
from mml_data import LMDBDataset, LMDBWriter
from mml_data.convert import import_source
from mml_data.importers.tree import open_source

core = pytest.importorskip("pymatgen.core")


def make_structure(index):
    rng = np.random.default_rng(index)
    lattice = core.Lattice.from_parameters(*rng.uniform(3, 5, 3), *rng.uniform(75, 105, 3))
    num_atoms = int(rng.integers(1, 5))
    return core.Structure(
        lattice,
        rng.choice(["Fe", "O", "Li"], num_atoms),
        np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])[:num_atoms]
        + rng.uniform(0, 0.05, (num_atoms, 3)),
    )


STRUCTURES = [make_structure(index) for index in range(6)]


def check(sample, structure):
    """Check the properties that do not depend on the orientation or the order of atoms."""
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
def test_import_reads_tree_of_formats(tmp_path, jobs):
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


def test_unsupported_source_raises(tmp_path, samples):
    (tmp_path / "structures.docx").write_text("x")
    with pytest.raises(
        ValueError, match=r"structures\.docx' has no supported format; supported are VASP run, "
    ):
        import_source(tmp_path / "structures.docx", tmp_path / "out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        ValueError, match=r"folder' contains no file that can be imported: no files; supported"
    ):
        import_source(tmp_path / "folder", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"nowhere' does not exist"):
        import_source(tmp_path / "nowhere", tmp_path / "out")
    with LMDBWriter(tmp_path / "set") as writer:
        writer.add(samples[0])
    with pytest.raises(ValueError, match="set' is already a data set; use it"):
        import_source(tmp_path / "set", tmp_path / "out")


def test_archives_list_files_that_are_passed_over(tmp_path):
    for name, files in {"a.zip": ("README.md", "d/a.xyz"), "b.zip": ("README.md",)}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in files:
                archive.writestr(file, "1\n\nH 0 0 0\n" if file.endswith("xyz") else "text")
    (tmp_path / "c.zip").write_text("text")
    source = open_source(tmp_path)
    about = source.describe()
    assert (about["format"], about["files"]) == ("extended XYZ", 1)
    assert about["passed_over"] == [
        {"file": "a.zip/README.md", "reason": "has no supported format"},
        {
            "file": "b.zip",
            "reason": "contains no file that can be imported: README.md has no supported format",
        },
        {"file": "c.zip", "reason": "the archive cannot be extracted: File is not a zip file"},
    ]
    ((place, item),) = [item for part in source.parts(2) for item in part.read()]
    assert place.endswith("a.zip/d/a.xyz:frame 1")
    assert item["extra"] == {"source": "a.zip/d/a.xyz", "frame": 0}
    with pytest.raises(ValueError, match=r"b\.zip' contains no file that can be imported: README\.md has"):
        open_source(tmp_path / "b.zip")
    with pytest.raises(ValueError, match=r"c\.zip' the archive cannot be extracted"):
        open_source(tmp_path / "c.zip")
