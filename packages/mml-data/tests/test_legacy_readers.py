import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mml_data import LMDBDataset
from mml_data.convert import import_source
from mml_data.importers.legacy_readers import find_reader

SHARED = Path(__file__).parents[3].parent / "shared"


HAS_SHARED = pytest.mark.skipif(
    not (SHARED / "legacy").is_dir(), reason="the shared data are not beside this checkout"
)


@HAS_SHARED
def test_import_keeps_real_lips(tmp_path):
    manifest = import_source(SHARED / "legacy" / "lips", tmp_path / "lips", units={"targets.energy": "eV"})
    assert manifest.source["format"] == "LMDB of pickles (lips)"
    dataset = LMDBDataset(tmp_path / "lips")
    dataset.verify()
    lines = [json.loads(line) for line in (SHARED / "data" / "lips.jsonl").read_text().splitlines()]
    for sample, line in zip(dataset, lines, strict=True):
        assert sample["atomic_numbers"].tolist() == line["atomic_numbers"]
        assert sample["pos"].dtype == torch.float32
        torch.testing.assert_close(sample["pos"], torch.tensor(line["positions"], dtype=torch.float32))
        torch.testing.assert_close(sample["cell"], torch.tensor([line["cell"]], dtype=torch.float32))
        assert sample["pbc"].tolist() == [True] * 3
        assert float(sample["targets"]["energy"]) == pytest.approx(line["targets"]["energy"], rel=1e-6)
        torch.testing.assert_close(sample["targets"]["force"].float(), torch.tensor(line["targets"]["force"]))


@HAS_SHARED
def test_import_keeps_real_materials_project(tmp_path):
    manifest = import_source(SHARED / "legacy" / "materials_project", tmp_path / "mp")
    assert manifest.source["format"] == "LMDB of pickles (materials_project)"
    dataset = LMDBDataset(tmp_path / "mp")
    lines = [
        json.loads(line) for line in (SHARED / "data" / "materials_project.jsonl").read_text().splitlines()
    ]
    compared = 0
    for sample, line in zip(dataset, lines, strict=True):
        assert sample["atomic_numbers"].tolist() == line["atomic_numbers"]
        np.testing.assert_allclose(sample["pos"].numpy(), line["positions"], atol=1e-6)
        np.testing.assert_allclose(sample["cell"][0].numpy(), line["cell"], atol=1e-6)
        for name, value in line["targets"].items():
            found = sample["targets"][name]
            if value is None:
                assert torch.isnan(found)
            else:
                assert float(found) == pytest.approx(float(value), rel=1e-6)
                compared += 1
        assert sample["extra"]["formula_pretty"] == line["extra"].get(
            "formula", sample["extra"]["formula_pretty"]
        )
        assert 1 <= sample["extra"]["symmetry"]["number"] <= 230
        assert isinstance(sample["extra"]["symmetry"]["crystal_system"], str)
    assert compared > 1400
    kinds = dataset[0]["target_types"]
    assert {"band_gap", "efermi"} <= set(kinds["regression"])
    assert {"is_metal", "is_stable"} <= set(kinds["classification"])


def structure_dict():
    return {
        "lattice": {"matrix": [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]], "pbc": [True] * 3},
        "sites": [
            {"species": [{"element": "Na", "occu": 1}], "abc": [0.0, 0, 0], "properties": {"magmom": 0.5}},
            {
                "species": [{"element": "Cl", "occu": 1.0}],
                "abc": [0.5, 0.5, 0.5],
                "properties": {"magmom": 0.0},
            },
        ],
    }


CUBE = (4.0 * np.eye(3)).tolist()


HALF = [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]


RECORDS = {
    "oqmd": (
        {
            "cart_coords": [[0.0, 0, 0], [0.5, 0.5, 0.5]],
            "cell": CUBE,
            "atomic_numbers": [11, 17],
            "delta_e": -1.5,
            "band_gap": None,
            "stability": 0.0,
            "spacegroup": "Fm-3m",
        },
        {"energy": -1.5, "band_gap": None, "stability": 0.0},
    ),
    "carolina": (
        {
            "cart_coords": np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
            "atomic_numbers": [11, 17],
            "energy": -3.0,
            **{f"_cell_length_{axis}": "4.0" for axis in "abc"},
            **{f"_cell_angle_{angle}": "90.0" for angle in ("alpha", "beta", "gamma")},
            "_symmetry_Int_Tables_number": "225",
        },
        {"energy": -3.0},
    ),
    "nomad": (
        {
            "properties": {
                "structures": {
                    "structure_original": {
                        "cartesian_site_positions": (np.array(HALF) * 1e-10).tolist(),
                        "lattice_vectors": (np.array(CUBE) * 1e-10).tolist(),
                        "lattice_parameters": {
                            "a": 4e-10,
                            "b": 4e-10,
                            "c": 4e-10,
                            "alpha": 1.57,
                            "beta": 1.57,
                            "gamma": 1.57,
                        },
                        "species_at_sites": ["Na", "Cl"],
                    }
                },
                "electronic": {
                    "band_structure_electronic": [{"energy_fermi": None, "spin_polarized": False}]
                },
            },
            "energies": {"total": {"value": -1.602176634e-18}},
            "material": {"symmetry": {"space_group_number": 225}},
        },
        {"energy_total": -10.0, "efermi": None, "spin_polarized": False},
    ),
    "alexandria": (
        {
            "entry_id": "agm1",
            "structure": structure_dict(),
            "force": [[0.0, 0, 1], [0, 0, -1]],
            "magmoms": [0.5, 0.0],
            "targets": {"regression": {"energy": -7.0, "band_gap": None}, "classification": {"is_metal": 1}},
        },
        {"energy": -7.0, "band_gap": None, "is_metal": True, "force": [[0.0, 0, 1], [0, 0, -1]]},
    ),
    "materials_trajectory": (
        {
            "structure": structure_dict(),
            "corrected_total_energy": -8.0,
            "uncorrected_total_energy": -7.5,
            "force": [[0.0, 0, 1], [0, 0, -1]],
            "stress": (1602.1766208 * np.diag([1.0, 2, 3])).tolist(),
            "magmom": None,
        },
        {
            "corrected_total_energy": -8.0,
            "uncorrected_total_energy": -7.5,
            "energy": -8.0,
            "force": [[0.0, 0, 1], [0, 0, -1]],
            "stress": [[[-1.0, 0, 0], [0, -2, 0], [0, 0, -3]]],
        },
    ),
    "colabfit": (
        {
            "pos": torch.tensor(HALF),
            "cell": torch.tensor(CUBE),
            "atomic_numbers": [11, 17],
            "potential-energy": -2.0,
            "force": torch.zeros(2, 3),
            "stress": [1.0, 2, 3, 4, 5, 6],
        },
        {"energy": -2.0, "force": [[0.0] * 3] * 2, "stress": [[[1.0, 6, 5], [6, 2, 4], [5, 4, 3]]]},
    ),
    "is2re": (
        {
            "pos": torch.tensor(HALF),
            "cell": torch.tensor([CUBE]),
            "atomic_numbers": torch.tensor([11.0, 17.0]).long(),
            "y_init": 6.0,
            "y_relaxed": -1.25,
            "sid": 17,
            "tags": torch.tensor([0, 2]),
            "natoms": 2,
        },
        {"energy_init": 6.0, "energy_relaxed": -1.25},
    ),
    "s2ef": (
        {
            "pos": torch.tensor(HALF),
            "cell": torch.tensor([CUBE]),
            "atomic_numbers": torch.tensor([11, 17]),
            "y": -1.25,
            "force": torch.ones(2, 3),
            "edge_index": torch.zeros(2, 4),
            "sid": 1,
            "fid": 2,
        },
        {"energy": -1.25, "force": [[1.0] * 3] * 2},
    ),
    "symmetry": (
        {
            "coordinates": torch.tensor([*HALF, [9.0, 9, 9]]),
            "source_types": torch.tensor([1, 2, 3]),
            "dest_types": torch.tensor([11, 17, 0]),
            "label": torch.tensor([30]),
        },
        {"point_group": 30},
    ),
}


def check_oddities(name, sample, targets):
    assert sample["atomic_numbers"].tolist() == [11, 17]
    np.testing.assert_allclose(sample["pos"].numpy(), HALF, atol=1e-5)
    if name != "symmetry":
        np.testing.assert_allclose(sample["cell"][0].numpy(), CUBE, atol=1e-5)
    assert set(sample["targets"]) == {key for key, value in targets.items() if value is not None}
    for key, value in targets.items():
        if value is not None:
            np.testing.assert_allclose(sample["targets"][key].numpy(), value, rtol=1e-6)


@pytest.mark.parametrize("name", RECORDS)
def test_reader_converts_its_record(tmp_path, name, write_lmdb):
    record, targets = RECORDS[name]
    source = write_lmdb(tmp_path / "data.lmdb", [record] * 3)
    assert find_reader(record) == name
    import_source(source, tmp_path / "out", splits=(1, 0, 0))
    dataset = LMDBDataset(tmp_path / "out")
    check_oddities(name, dataset[1], targets)
    assert dataset.manifest.source["format"] == f"LMDB of pickles ({name})"


def test_missing_target_becomes_nan(tmp_path, write_lmdb):
    record, _ = RECORDS["oqmd"]
    source = write_lmdb(tmp_path / "data.lmdb", [record, {**record, "band_gap": 1.5}, record])
    import_source(source, tmp_path / "out", splits=(1, 0, 0))
    gaps = [float(sample["targets"]["band_gap"]) for sample in LMDBDataset(tmp_path / "out")]
    assert gaps[1] == 1.5
    assert np.isnan([gaps[0], gaps[2]]).all()


def test_readers_accept_old_and_new_pyg_graphs(tmp_path, write_lmdb):
    geometric = pytest.importorskip("torch_geometric.data")
    record, targets = RECORDS["s2ef"]
    data = geometric.Data(**record)
    old = geometric.Data.__new__(geometric.Data)
    old.__dict__.update(record)  # before PyG 2, a graph held its arrays itself
    for number, graph in enumerate((data, old)):
        source = write_lmdb(tmp_path / f"{number}.lmdb", [graph, graph])
        import_source(source, tmp_path / f"{number}", splits=(1, 0, 0), reader="s2ef")
        check_oddities("s2ef", LMDBDataset(tmp_path / f"{number}")[0], targets)


def test_pymatgen_structure_needs_no_trust(tmp_path, write_lmdb):
    core = pytest.importorskip("pymatgen.core")
    lattice = core.Lattice.from_parameters(3, 4, 5, 80, 95, 105)
    structure = core.Structure(lattice, ["Fe2+", "O2-"], [[0.1, 0.2, 0.3], [0.6, -0.2, 1.1]])
    record = {
        "structure": structure,
        "fields_not_requested": ["xas"],
        "xas": None,
        "band_gap": 0.5,
        "efermi": None,
    }
    source = write_lmdb(tmp_path / "data.lmdb", [record, {**record, "efermi": 2.0}])
    for trust in (False, True):
        import_source(source, tmp_path / "out", splits=(1, 0, 0), trust_pickle=trust, overwrite=True)
        sample = LMDBDataset(tmp_path / "out")[0]
        assert sample["atomic_numbers"].tolist() == [26, 8]
        np.testing.assert_allclose(sample["pos"].numpy(), structure.cart_coords, atol=1e-12)
        np.testing.assert_allclose(sample["cell"][0].numpy(), lattice.matrix, atol=1e-12)
        assert torch.isnan(sample["targets"]["efermi"])


BAD = {
    "disorder": (
        {
            **RECORDS["alexandria"][0],
            "structure": {
                **structure_dict(),
                "sites": [
                    {
                        "species": [{"element": "Na", "occu": 0.5}, {"element": "K", "occu": 0.5}],
                        "abc": [0, 0, 0],
                    }
                ],
            },
        },
        r"a site is occupied by Na 0\.5, K 0\.5; only sites that are fully occupied",
    ),
    "no such element": (
        {
            **RECORDS["alexandria"][0],
            "structure": {
                **structure_dict(),
                "sites": [{"species": [{"element": "Xx", "occu": 1}], "abc": [0, 0, 0]}],
            },
        },
        "'Xx' is not a chemical element",
    ),
    "nothing like a record": (
        {"a": 1},
        r"cannot be determined from the keys a; pass reader .*one of mat",
    ),
    "a cell without orientation": (
        {
            **RECORDS["nomad"][0],
            "properties": {
                **RECORDS["nomad"][0]["properties"],
                "structures": {
                    "structure_original": {"cartesian_site_positions": HALF, "species_at_sites": ["Na", "Cl"]}
                },
            },
        },
        "has no 'lattice_vectors'",
    ),
    "no pickle": (b"\x80junk", "not a readable pickle"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_record_raises(tmp_path, name, write_lmdb):
    record, message = BAD[name]
    source = write_lmdb(tmp_path / "data.lmdb", [record])
    with pytest.raises(ValueError, match=message):
        import_source(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
