"""The commands of docs/own-data.md lead from files of each kind to a trained model."""

import json
import pickle
import re
import shlex
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from matsciml.cli import main
from mml_data import Manifest
from mml_data.importers.registry import known_formats
from support import ROOT

PAGE = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
GUIDE = PAGE[PAGE.index("## From your files") : PAGE.index("## What is imported")]
SHORT = [
    "--trainer.max_epochs=1",
    *(f"--trainer.limit_{part}_batches=1" for part in ("train", "val", "test")),
    "--trainer.enable_progress_bar=false",
]
NUMBERS = {"Na": 11, "Cl": 17}


def frame(number):
    """Return positions, cell, energy, and forces of a rattled rock-salt cell. Energies fit the forces."""
    rng = np.random.default_rng(number)
    cell = 5.6 * np.eye(3)
    sodium = 2.8 * np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
    rattle = rng.normal(size=(8, 3), scale=0.05)
    rattle -= rattle.mean(0)
    positions = np.concatenate([sodium, sodium + np.array([2.8, 0, 0])]) + rattle
    return positions, cell, -27.0 + 5 * float((rattle**2).sum()), -10 * rattle


def xyz(
    path, count, first=0, *, energy="REF_energy", force="REF_forces", stress="REF_stress", scale=1.0, unit=1.0
):
    """Write frames as extended XYZ. `scale` divides the lengths and `unit` the energies."""
    text = ""
    for number in range(first, first + count):
        positions, cell, value, forces = frame(number)
        lattice = " ".join(map(str, (cell / scale).ravel()))
        tensor = " ".join(map(str, (0.01 * np.eye(3)).ravel()))
        text += (
            f'8\nLattice="{lattice}" Properties=species:S:1:pos:R:3:{force}:R:3 {energy}={value / unit} '
            f'{stress}="{tensor}" pbc="T T T"\n'
        )
        for symbol, position, row in zip(
            ["Na"] * 4 + ["Cl"] * 4, positions / scale, forces * scale / unit, strict=True
        ):
            text += " ".join([symbol, *map(str, [*position, *row])]) + "\n"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def vasprun(path, numbers):
    def rows(values):
        return "".join(f"<v> {' '.join(map(str, row))} </v>" for row in values)

    steps = ""
    for number in numbers:
        positions, cell, energy, forces = frame(number)
        steps += (
            f'<calculation><structure><crystal><varray name="basis">{rows(cell)}</varray></crystal>'
            f'<varray name="positions">{rows(positions / 5.6)}</varray></structure>'
            f'<varray name="forces">{rows(forces)}</varray><varray name="stress">{rows(np.eye(3))}</varray>'
            f'<energy><i name="e_fr_energy">{energy}</i><i name="e_0_energy">{energy}</i></energy>'
            "</calculation>"
        )
    atoms = "".join(f"<rc><c>{each}</c><c>1</c></rc>" for each in ["Na"] * 4 + ["Cl"] * 4)
    positions, cell, _, _ = frame(numbers[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?><modeling><parameters><i type="int" name="NELM">60</i>'
        f"</parameters><atominfo><array name='atoms'><set>{atoms}</set></array></atominfo>"
        f'<structure name="initialpos"><crystal><varray name="basis">{rows(cell)}</varray></crystal>'
        f'<varray name="positions">{rows(positions / 5.6)}</varray></structure>{steps}</modeling>'
    )


def structure(number):
    """Return a structure as pymatgen writes it."""
    positions, cell, _, _ = frame(number)
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": (position / 5.6).tolist()}
        for symbol, position in zip(["Na"] * 4 + ["Cl"] * 4, positions, strict=True)
    ]
    return {"lattice": {"matrix": cell.tolist()}, "sites": sites}


def cif(path, number):
    pymatgen = pytest.importorskip("pymatgen.core")
    positions, cell, _, _ = frame(number)
    made = pymatgen.Structure(cell, ["Na"] * 4 + ["Cl"] * 4, positions, coords_are_cartesian=True)
    path.parent.mkdir(exist_ok=True)
    path.write_text(made.to(fmt="cif"))


def make_xyz():
    xyz(Path("frames.xyz"), 30)
    xyz(Path("odd.xyz"), 20, energy="E_pbe", force="F_pbe", stress="W_pbe")
    xyz(Path("atomic.xyz"), 20, scale=0.529177, unit=27.2114)


def make_runs():
    for number in range(10):
        xyz(Path(f"runs/run{number}.xyz"), 3, 3 * number)


def make_vasp():
    for number in range(10):
        vasprun(Path(f"vasp-runs/run{number}/vasprun.xml"), range(3 * number, 3 * number + 3))


def make_cifs():
    for number in range(20):
        cif(Path(f"cifs/salt-{number}.cif"), number)
        cif(Path(f"cgcnn/{number}.cif"), number)
    rows = [(f"salt-{number}", 5 + 0.1 * number) for number in range(20)]
    Path("labels.csv").write_text("material,band_gap\n" + "".join(f"{name},{gap}\n" for name, gap in rows))
    Path("cgcnn/id_prop.csv").write_text("".join(f"{number},{number / 10}\n" for number in range(20)))


def make_mptrj():
    entries = {}
    for number in range(30):
        _, _, energy, forces = frame(number)
        name = f"mp-{number // 3}"
        entries.setdefault(name, {})[f"{name}-0-{number}"] = {
            "structure": structure(number),
            "uncorrected_total_energy": energy,
            "corrected_total_energy": energy,
            "energy_per_atom": energy / 8,
            "force": forces.tolist(),
            "stress": np.eye(3).tolist(),
            "magmom": None,
            "bandgap": 5.0,
            "mp_id": name,
        }
    Path("MPtrj.json").write_text(json.dumps(entries))


def make_parquet():
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = []
    for number in range(30):
        positions, cell, energy, forces = frame(number)
        rows.append(
            {
                "immutable_id": f"agm-{number}",
                "lattice_vectors": cell.tolist(),
                "cartesian_site_positions": positions.tolist(),
                "species_at_sites": ["Na"] * 4 + ["Cl"] * 4,
                "species": json.dumps(
                    [{"name": name, "chemical_symbols": [name], "concentration": [1.0]} for name in NUMBERS]
                ),
                "dimension_types": [1, 1, 1],
                "energy": energy,
                "forces": forces.tolist(),
                "functional": "pbe",
            }
        )
    pq.write_table(pyarrow.Table.from_pylist(rows), "lemat.parquet")


def make_lips():
    Path("lips").mkdir()
    environment = lmdb.open("lips/data.lmdb", subdir=False, map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        for number in range(30):
            positions, cell, energy, forces = frame(number)
            record = {
                "pos": torch.tensor(positions),
                "cell": torch.tensor(cell),
                "atomic_numbers": torch.tensor([11] * 4 + [17] * 4),
                "energy": energy,
                "force": torch.tensor(forces),
                "pbc": torch.ones(3, dtype=torch.long),
            }
            transaction.put(str(number).encode(), pickle.dumps(record))
        transaction.put(b"length", pickle.dumps(30))
    environment.close()


INPUTS = {
    "From your files": make_runs,
    "Extended XYZ": make_xyz,
    "VASP": make_vasp,
    "CIF files": make_cifs,
    "JSON of MPtrj": make_mptrj,
    "Parquet": make_parquet,
    "The older toolkit": make_lips,
}
GROUPS = {"runs": "extra.source", "vasp-runs": "extra.source", "MPtrj.json": "extra.mp_id"}
SECTIONS = re.findall(r"^##+ (.*?)\n(.*?)(?=^##|\Z)", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("known", known_formats(), ids=lambda known: known.name)
def test_format_has_row(known):
    assert f"| {known.name} | {known.files} | {known.labels} |".replace("*", "\\*") in PAGE


def test_every_section_has_inputs():
    assert len(SECTIONS) == len(INPUTS)
    assert all(title.startswith(begin) for (title, _), begin in zip(SECTIONS, INPUTS, strict=True))


def section(number, name):
    quick = name in ("From your files", "CIF files")
    return pytest.param(number, id=name, marks=[] if quick else [pytest.mark.slow])


@pytest.mark.parametrize("number", [section(number, name) for number, name in enumerate(INPUTS)])
def test_commands_train_model(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    list(INPUTS.values())[number]()
    commands = [
        shlex.split(line)[1:]
        for block in re.findall(r"^```shell\n(.*?)^```", SECTIONS[number][1], re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if not line.startswith("matsciml diagnose")  # takes a minute, and has tests of its own
    ]
    assert [words[0] for words in commands].count("fit") == 1
    for words in commands:
        status = main([*words, *SHORT] if words[0] == "fit" else words)
        captured = capsys.readouterr()
        assert status == 0, f"{words}: {captured.out}\n{captured.err}"
        if words[:2] == ["data", "import"]:
            manifest = Manifest.read(words[3])
            assert manifest.statistics["all"]["targets"]
            assert manifest.source["split"]["group_by"] == GROUPS.get(words[2], "frame")
    (report,) = Path("runs").glob("*/report.html") if Path("runs").is_dir() else ()
    assert report.is_file()
