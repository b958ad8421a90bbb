import json
from pathlib import Path

import numpy as np
import pytest
from mml_data import LMDBDataset
from mml_data.convert import import_source
from mml_data.importers.compressed import decompressed_name, is_archive, read_head
from mml_data.importers.registry import find_format, format_named, known_formats

CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures"
SPECIFIC = [each for each in known_formats() if each.name != "ASE"]
CELL = [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
FE = {"lattice": {"matrix": CELL}, "sites": [{"species": [{"element": "Fe", "occu": 1}], "abc": [0, 0, 0]}]}

FILES = {
    "a.xyz": ("extended XYZ", "1\nenergy=1\nH 0 0 0\n"),
    "dsgdb9nsd_000001.xyz": ("QM9 xyz", "1\ngdb 1 2 3\nH 0 0 0 0\n"),
    "a.jsonl": ("JSON lines", '{"atomic_numbers": [1], "positions": [[0, 0, 0]]}\n'),
    "b.jsonl": ("MatPES JSON", json.dumps({"matpes_id": "m", "structure": FE}) + "\n"),
    "a.json": ("pymatgen JSON", json.dumps(FE)),
    "b.json": ("dpdata JSON", '{"@module": "dpdata.system", "@class": "System", "data": {}}'),
    "c.json": ("ASE JSON", '{"1": {"numbers": {"__ndarray__": [[1], "int64", [1]]}}}'),
    "POSCAR": ("POSCAR", "Fe\n1\n4 0 0\n0 4 0\n0 0 4\nFe\n1\nDirect\n0 0 0\n"),
    "XDATCAR": ("VASP XDATCAR", "Fe\n1\n4 0 0\n0 4 0\n0 0 4\nFe\n1\nDirect configuration=     1\n0 0 0\n"),
    "my.xml": ("VASP XML", '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n'),
    "OUTCAR.1": ("VASP OUTCAR", " vasp.6.3.2 27Jun22 complex\n POTCAR:    PAW_PBE Fe 02Aug2007\n"),
    "a.cfg": ("MTP cfg", "BEGIN_CFG\n Size\n 1\n"),
    "a.csv": ("CSV with structures", 'id,cif\n1,"_cell_length_a 4\n"\n'),
    "a.cif": ("CIF", "data_a\n_cell_length_a 4\n"),
}


def matching(name, head):
    return [each.name for each in SPECIFIC if each.matches(name.lower(), head)]


@pytest.mark.parametrize(("name", "expected"), FILES.items(), ids=FILES)
def test_one_format_matches(name, expected):
    head = expected[1].encode()
    assert matching(name, head) == [expected[0]]
    assert find_format(name, head) is format_named(expected[0])


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_one_format_matches_each_case():
    for file in sorted(file for file in CASES.rglob("*") if file.is_file() and not is_archive(file)):
        head = read_head(file)
        if head.strip() and file.name != "id_prop.csv":
            found = matching(decompressed_name(file.name), head)
            expected = 0 if file.suffix == ".traj" else 1
            assert len(found) == expected, (str(file.relative_to(CASES)), found)


def test_names_are_unique():
    names = [each.name.lower() for each in known_formats()]
    assert len(names) == len(set(names))
    assert all(each.files and each.labels for each in known_formats())


KBAR = 1 / 1602.176634

# Path, options of the import, number of samples, and targets of the first sample (stress: xx).
IMPORTS = [
    ("05-json/MPtrj_mini.json", {}, 3, {"energy": -7.2, "force": None, "stress": -10 * KBAR}),
    ("05-json/MPtrj_mini.json", {"targets": ["energy=uncorrected_total_energy"]}, 3, {"energy": -7.0}),
    ("05-json/ase.json", {}, 3, {"energy": -7.0, "force": None, "stress": 0.01}),
    ("05-json/cse.json", {}, 1, {"energy": -7.5}),
    ("05-json/df-columns.json", {"targets": ["e_form"]}, 2, {"e_form": -1.0}),
    ("05-json/df-records.json", {"targets": ["e_form"]}, 2, {"e_form": -1.0}),
    ("05-json/entries-na.json", {"targets": ["band_gap"]}, 3, {"band_gap": 5.1}),
    ("05-json/gap-na-first.json", {"targets": ["gap"], "allow_close": True}, 8, {"gap": float("nan")}),
    ("05-json/jarvis_dft_3d.json", {"targets": ["optb88vdw_bandgap"]}, 2, {"optb88vdw_bandgap": 5.0}),
    ("05-json/lines.json", {}, 2, {"energy": -7.0, "force": None, "stress": -10 * KBAR}),
    ("05-json/magmom.json", {"allow_close": True}, 8, {"energy": -7.0}),
    ("05-json/matbench_mp_gap.json.gz", {"targets": ["gap pbe"]}, 3, {"gap pbe": 5.1}),
    ("05-json/matpes-nostress.json", {}, 20, {"energy": -7.0, "force": None}),
    ("05-json/matpes.json", {}, 2, {"energy": -7.0, "force": None, "stress": -10 * KBAR}),
    ("05-json/siteprops.json", {"targets": ["e"]}, 1, {"e": -1.0}),
    ("04-vasp", {"on_error": "skip"}, 17, {"energy": -7.02, "force": None, "stress": -16.02176634 * KBAR}),
    ("04-vasp/vasprun.xml.gz", {}, 3, {"energy": -7.02, "force": None, "stress": -16.02176634 * KBAR}),
    ("04-vasp/mine.xml", {}, 3, {"energy": -7.02, "force": None, "stress": -16.02176634 * KBAR}),
    ("04-vasp/XDATCAR", {"targets": []}, 2, {}),
    ("04-vasp/aimd/OUTCAR.static", {}, 1, {"energy": -68.23102426, "force": None, "stress": 4.29429 * KBAR}),
    ("10-tree/vasp-runs", {}, 12, {"energy": -7.02, "force": None, "stress": -16.02176634 * KBAR}),
    ("08-text/qm9.xyz", {"targets": ["U0"]}, 1, {"U0": -40.4 * 27.211386245988}),
]


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
@pytest.mark.parametrize(("path", "options", "count", "targets"), IMPORTS)
def test_cases_are_imported(tmp_path, path, options, count, targets):
    import_source(CASES / path, tmp_path / "out", splits=(1, 0, 0), **options)
    dataset = LMDBDataset(tmp_path / "out")
    assert len(dataset) == count
    found = dict(dataset[0].get("targets", {}))
    if "force" in targets:
        assert found.pop("force").shape == (len(dataset[0]["pos"]), 3)
    values = {name: float(value.ravel()[0]) for name, value in found.items()}
    assert values == pytest.approx(
        {name: value for name, value in targets.items() if name != "force"}, nan_ok=True
    )


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
@pytest.mark.parametrize("path", ["05-json/jarvis_dft_3d.json", "08-text/qm9.xyz"])
def test_labels_without_standard_name_are_listed(tmp_path, path):
    label = {"jar": "optb88vdw_bandgap", "qm9": "U0"}[Path(path).name[:3]]
    with pytest.raises(ValueError, match=rf"no targets were found.*\b{label}\b"):
        import_source(CASES / path, tmp_path / "out", splits=(1, 0, 0))


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_truncated_run_stops_import(tmp_path):
    with pytest.raises(ValueError, match=r"vasprun-truncated\.xml:frame 3: the file is damaged or truncated"):
        import_source(CASES / "04-vasp" / "vasprun-truncated.xml", tmp_path / "out")
    import_source(
        CASES / "04-vasp" / "vasprun-truncated.xml", tmp_path / "kept", splits=(1, 0, 0), on_error="skip"
    )
    assert len(LMDBDataset(tmp_path / "kept")) == 2


def write_deepmd(folder):
    (folder / "set.000").mkdir()
    (folder / "type.raw").write_text("0\n")
    (folder / "type_map.raw").write_text("Fe\n")
    arrays = {"coord": np.zeros((2, 3)), "box": np.tile(np.array(CELL).ravel(), (2, 1)), "energy": [1.5, 2.5]}
    for name, values in (
        arrays | {"force": np.zeros((2, 3)), "virial": np.tile(64 * np.eye(3).ravel(), (2, 1))}
    ).items():
        np.save(folder / "set.000" / f"{name}.npy", values)


def write_npz(folder):
    np.savez(
        folder / "a.npz",
        z=[26],
        R=np.zeros((2, 1, 3)),
        E=[1.5, 2.5],
        F=np.zeros((2, 1, 3)),
        e_unit=np.array("eV"),
    )


def write_cfg(folder):
    frame = (
        "BEGIN_CFG\nSize\n1\nSupercell\n4 0 0\n0 4 0\n0 0 4\n"
        "AtomData: id type cartes_x cartes_y cartes_z fx fy fz\n"
        "1 0 0 0 0 0 0 0\nEnergy\n{}\nPlusStress: xx yy zz yz xz xy\n64 64 64 0 0 0\nEND_CFG\n"
    )
    (folder / "a.cfg").write_text(frame.format(1.5) + frame.format(2.5))


def write_hdf5(folder):
    with pytest.importorskip("h5py").File(folder / "a.h5", "w") as file:
        group = file.create_group("Fe")
        arrays = {"species": [b"Fe"], "coordinates": np.zeros((2, 1, 3)), "forces": np.zeros((2, 1, 3))}
        for name, values in (arrays | {"energies": np.array([1.5, 2.5]) / 27.211386245988}).items():
            group[name] = values


def write_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    row = {"atomic_numbers": [26], "positions": [[0.0, 0, 0]], "cell": CELL, "atomic_forces": [[0.0, 0, 0]]}
    table = pyarrow.Table.from_pylist([row | {"energy": 1.5}, row | {"energy": 2.5}])
    pytest.importorskip("pyarrow.parquet").write_table(table, folder / "a.parquet")


@pytest.mark.parametrize(
    ("write", "options", "stress"),
    [
        (write_deepmd, {}, -1.0),
        (write_npz, {}, None),
        (write_cfg, {"elements": ["Fe"]}, -1.0),
        (write_hdf5, {}, None),
        (write_parquet, {}, None),
    ],
)
def test_own_files_are_imported(tmp_path, write, options, stress):
    source = tmp_path / "source"
    source.mkdir()
    write(source)
    manifest = import_source(source, tmp_path / "out", splits=(1, 0, 0), **options)
    assert "passed_over" not in manifest.source
    dataset = LMDBDataset(tmp_path / "out")
    assert [float(sample["targets"]["energy"]) for sample in dataset] == pytest.approx([1.5, 2.5])
    assert dataset[1]["targets"]["force"].shape == (1, 3)
    assert dataset[1]["extra"]["frame"] == 1
    if stress is not None:
        np.testing.assert_allclose(dataset[0]["targets"]["stress"].squeeze(), stress * np.eye(3), atol=1e-12)
