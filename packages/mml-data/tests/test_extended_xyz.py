import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_data import LMDBDataset
from mml_data.convert import import_source
from mml_data.importers.readers.extended_xyz import read_xyz
from mml_data.importers.tree import open_source

ase = pytest.importorskip("ase")
ase_io = pytest.importorskip("ase.io")
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402
from ase.constraints import FixAtoms  # noqa: E402
from ase.db import connect  # noqa: E402

CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures" / "08-text"


CORNERS = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1]])


def make_atoms(index, *, results=True):
    rng = np.random.default_rng(index)
    num_atoms = int(rng.integers(1, 6))
    atoms = ase.Atoms(
        rng.choice(["Fe", "O", "Li"], num_atoms),
        positions=2.0 * CORNERS[:num_atoms] + 0.1 * rng.normal(size=(num_atoms, 3)),
        cell=np.diag(rng.uniform(4, 6, 3)) + 0.1 * rng.normal(size=(3, 3)),
        pbc=[True, True, index % 2 == 0],
    )
    atoms.info["formation"] = float(rng.normal())
    atoms.info["name"] = f"made-{index}"
    atoms.set_array("softness", rng.normal(size=num_atoms))
    if results:
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=float(rng.normal()),
            forces=rng.normal(size=(num_atoms, 3)),
            stress=rng.normal(size=6),
        )
    return atoms


FRAMES = [make_atoms(index) for index in range(23)]


def check(sample, atoms, tolerance=1e-7):
    assert sample["atomic_numbers"].tolist() == atoms.numbers.tolist()
    np.testing.assert_allclose(sample["pos"].numpy(), atoms.positions, atol=tolerance)
    np.testing.assert_allclose(sample["cell"][0].numpy(), np.array(atoms.cell), atol=tolerance)
    assert sample["pbc"].tolist() == atoms.pbc.tolist()
    targets = sample["targets"]
    assert float(targets["energy"]) == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(targets["force"].numpy(), atoms.get_forces(), atol=1e-6)
    np.testing.assert_allclose(targets["stress"][0].numpy(), atoms.get_stress(voigt=False), atol=1e-6)
    assert targets["stress"].shape == (1, 3, 3)


def write_file(path):
    if path.suffix in (".db", ".aselmdb"):
        if path.suffix == ".aselmdb":
            pytest.importorskip("ase_db_backends")
        database = connect(str(path), **({"type": "aselmdb"} if path.suffix == ".aselmdb" else {}))
        for atoms in FRAMES:
            database.write(
                atoms, key_value_pairs={"gap": 0.25}, data={"note": "x", "formation": atoms.info["formation"]}
            )
        if hasattr(database, "close"):
            database.close()
    else:
        ase_io.write(path, FRAMES)
    return path


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz", "a.traj", "a.db", "a.aselmdb"])
def test_import_keeps_every_value(tmp_path, name):
    source = write_file(tmp_path / name)
    manifest = import_source(source, tmp_path / "out", targets=["energy", "force", "stress", "formation"])
    dataset = LMDBDataset(tmp_path / "out")
    assert len(dataset) == len(FRAMES)
    for sample, atoms in zip(dataset, FRAMES, strict=True):
        check(sample, atoms, 1e-7)
        assert float(sample["targets"]["formation"]) == pytest.approx(atoms.info["formation"], abs=1e-6)
        if not name.endswith("db"):
            assert sample["extra"]["name"] == atoms.info["name"]
        if name.endswith("xyz"):  # the others do not keep arrays of one's own
            np.testing.assert_allclose(
                sample["extra"]["softness"].numpy(), atoms.arrays["softness"], atol=1e-6
            )
        if name.endswith("db"):
            assert (sample["extra"]["gap"], sample["extra"]["note"]) == (0.25, "x")
    assert manifest.schema["targets.stress"]["units"] == "eV/angstrom^3"
    assert manifest.source["origin"] == name


@pytest.mark.parametrize("name", ["a.extxyz", "a.db", "a.aselmdb"])
def test_parts_cover_file_in_order(tmp_path, name):
    source = open_source(write_file(tmp_path / name))
    wanted = [place for part in source.parts(1) for place, _ in part.read()]
    assert len(wanted) == len(FRAMES)
    for count in (2, 5, 23, 60):
        parts = source.parts(count)
        assert 1 < len(parts) <= count
        assert [place for part in parts for place, _ in part.read()] == wanted
        everything = [place for place, _ in parts[0].read()]
        assert [place for place, _ in parts[0].read(1)] == everything[1:]
        frames = [item["extra"]["frame"] for part in parts for _, item in part.read()]
        assert frames == list(range(len(FRAMES)))


def test_frames_without_results_miss_targets(tmp_path):
    frames = [make_atoms(0), make_atoms(1, results=False), make_atoms(2)]
    ase_io.write(tmp_path / "a.extxyz", frames)
    import_source(tmp_path / "a.extxyz", tmp_path / "out", splits=(1, 0, 0))
    targets = LMDBDataset(tmp_path / "out")[1]["targets"]
    assert torch.isnan(targets["energy"])
    assert targets["force"].shape == (len(frames[1]), 3)
    assert torch.isnan(targets["force"]).all()
    ase_io.write(tmp_path / "b.extxyz", frames[1::-1])
    import_source(
        tmp_path / "b.extxyz", tmp_path / "out", splits=(1, 0, 0), overwrite=True, targets=["energy"]
    )
    assert torch.isnan(LMDBDataset(tmp_path / "out")[0]["targets"]["energy"])


def test_molecules_have_no_cell(tmp_path):
    ase_io.write(tmp_path / "a.extxyz", [ase.Atoms("H2O", positions=np.eye(3))] * 3)
    import_source(tmp_path / "a.extxyz", tmp_path / "out", splits=(1, 0, 0), targets=())
    assert "cell" not in LMDBDataset(tmp_path / "out")[0]


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lambda lines: [*lines[:3], "Fe nothing here", *lines[4:]], "frame 1"),
        (lambda lines: lines[:-1], "frame 5"),
        (lambda lines: [*lines, "gibberish"], "frame 6"),
    ],
)
def test_damaged_frame_raises_or_is_skipped(tmp_path, damage, place):
    path = tmp_path / "a.extxyz"
    frames = [make_atoms(index) for index in (3, 4, 6, 8, 9)]
    ase_io.write(path, frames)
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    with pytest.raises(ValueError, match=rf"a\.extxyz:{place}: (the|a) frame"):
        import_source(path, tmp_path / "out", splits=(1, 0, 0))
    manifest = import_source(path, tmp_path / "out", splits=(1, 0, 0), on_error="skip")
    assert manifest.num_samples == 4 + (place == "frame 6")
    assert manifest.source["skipped"] == 1
    assert place in (tmp_path / "out" / "errors.jsonl").read_text()


finite = st.floats(-1e3, 1e3).map(lambda value: round(value, 8))
texts = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="_-."), min_size=1)


@st.composite
def xyz_frames(draw):
    """Text of a frame: columns in any order, labels of several types, optional lattice and periodicity."""
    num_atoms = draw(st.integers(1, 4))
    columns = {
        "species": ("S:1", st.sampled_from(["H", "Na", "Cl"])),
        "pos": ("R:3", finite),
        "forces": ("R:3", finite),
        "REF_charge": ("R:1", finite),
        "tags": ("I:1", st.integers(-3, 3)),
    }
    order = draw(st.permutations(["species", "pos", *draw(st.sets(st.sampled_from(list(columns)[2:])))]))
    properties = ":".join(f"{name}:{columns[name][0]}" for name in order)
    rows = [
        " ".join(
            str(draw(columns[name][1]))
            for name in order
            for _ in range(int(columns[name][0].rpartition(":")[2]))
        )
        for _ in range(num_atoms)
    ]
    pairs = [f"Properties={properties}"]
    if draw(st.booleans()):
        cell = np.diag(draw(st.lists(st.floats(1, 9), min_size=3, max_size=3))) + np.triu(np.ones((3, 3)), 1)
        pairs.append('Lattice="' + " ".join(f"{value:.6f}" for value in cell.ravel()) + '"')
        pairs.append('pbc="T F T"')
    pairs += [f"energy={draw(finite)}", f"step={draw(st.integers(0, 99))}"]
    pairs.append(f'virial="{" ".join(str(draw(finite)) for _ in range(9))}"')
    pairs.append(f'note="{draw(texts)} {draw(texts)}"')
    return "\n".join([str(num_atoms), " ".join(draw(st.permutations(pairs))), *rows, ""])


@given(st.lists(xyz_frames(), min_size=1, max_size=3), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_frames_equal_those_of_ase(tmp_path_factory, frames, end, is_spaced):
    path = tmp_path_factory.mktemp("xyz") / "a.xyz"
    text = ("\n" if is_spaced else "").join(frames)
    path.write_bytes(text.replace("\n", end).encode())
    found = [item for _, item in read_xyz(path)]
    expected = list(read_with_ase("".join(frames)))
    assert len(found) == len(expected) == len(frames)
    for ours, theirs in zip(found, expected, strict=True):
        assert not isinstance(ours, Exception), ours
        np.testing.assert_array_equal(ours["atomic_numbers"], theirs.numbers)
        np.testing.assert_array_equal(ours["positions"], theirs.positions)
        assert list(ours["pbc"]) == theirs.pbc.tolist()
        if ours["cell"] is None:
            assert not theirs.cell.any()
        else:
            np.testing.assert_array_equal(ours["cell"], theirs.cell)
        for name, value in theirs.info.items():
            if not isinstance(value, str):  # ASE reads some words as numbers or booleans
                np.testing.assert_array_equal(ours["labels"][name], value)
        results = theirs.calc.results if theirs.calc else {}
        assert ours["labels"]["energy"] == results["energy"]
        if "forces" in results:
            np.testing.assert_array_equal(ours["atom_labels"]["forces"].reshape(-1, 3), results["forces"])
        for name in ("REF_charge", "tags"):
            if name in theirs.arrays:
                np.testing.assert_array_equal(ours["atom_labels"][name], theirs.arrays[name])


def read_with_ase(text):
    return ase_io.read(io.StringIO(text), ":", format="extxyz")


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not available")
def test_shared_text_cases():
    found = {file.name: [item for _, item in read_xyz(file)] for file in sorted(CASES.glob("*.xyz"))}
    errors = {
        name: [str(item) if isinstance(item, Exception) else "" for item in items]
        for name, items in found.items()
    }
    for name in ("bom.xyz", "crlf.xyz", "latin1.xyz", "no-final-newline.xyz", "ünïcødé 結晶.xyz"):
        assert errors[name] == ["", ""], name
    assert found["d.xyz"][0]["warnings"] == ["the isotope D is imported as H"]
    assert "'Fe3+' is not a chemical element" in errors["species.xyz"][0]
    assert "'X' is not a chemical element" in errors["x.xyz"][0]
    assert errors["truncated.xyz"][:2] == ["", ""]
    assert errors["truncated.xyz"][2] == "the frame is truncated: expected 2 atoms, got 1"
    assert [bool(error) for error in errors["truncated-mid.xyz"]] == [False, True, True]
    assert found["vec.xyz"][0]["cell"].tolist() == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert np.isnan(found["nan.xyz"][1]["labels"]["energy"])


def test_free_text_is_a_comment(tmp_path):
    (tmp_path / "a.xyz").write_text("2\na water = molecule?\nH 0 0 0\nO 0 0 1\n1\nno pairs here\nHe 0 0 0\n")
    first, second = (item for _, item in read_xyz(tmp_path / "a.xyz"))
    assert not isinstance(first, Exception)
    assert second["extra"] == {"frame": 1, "comment": "no pairs here"}
    assert second["atomic_numbers"].tolist() == [2]


def test_move_mask_is_opposite_of_fixed(tmp_path):
    atoms = ase.Atoms("H3", positions=np.eye(3), constraint=FixAtoms([1]))
    ase_io.write(tmp_path / "a.extxyz", atoms)
    ((_, item),) = read_xyz(tmp_path / "a.extxyz")
    assert item["atom_labels"]["fixed"].tolist() == [False, True, False]
