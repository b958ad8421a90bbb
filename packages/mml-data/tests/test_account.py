import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_data import LMDBDataset
from mml_data.importers.account import PartLog, show_account
from mml_data.importers.labels import LabelPlan
from mml_data.importers.write_parts import write_parts


class Listed:
    """Source of structures that are divided into parts."""

    def __init__(self, structures, passed_over=(), pieces=1):
        self.structures = structures
        self.pieces = pieces
        self.units = {}
        self.passed_over = list(passed_over)

    def describe(self):
        return {"origin": "list", "format": "list", "files": 2, "passed_over": self.passed_over}

    def parts(self, count):
        size = -(-len(self.structures) // self.pieces)
        return [
            Piece(self.structures[start : start + size], start)
            for start in range(0, len(self.structures), size)
        ]


class Piece:
    def __init__(self, structures, first):
        self.structures, self.first = structures, first

    def read(self, start=0):
        for number, structure in enumerate(self.structures[start:], start):
            yield f"list:{self.first + number + 1}", structure


def atoms(num_atoms=2, **more):
    positions = 3.0 * np.arange(num_atoms)[:, None] * np.ones(3)
    return {"atomic_numbers": np.full(num_atoms, 8), "positions": positions, **more}


def write(path, structures, passed_over=(), *, pieces=1, on_error="stop", resume=False, **options):
    source = Listed(structures, passed_over, pieces)
    return write_parts(
        source,
        path,
        plan=LabelPlan(**options),
        splits=lambda count: {},
        about={},
        on_error=on_error,
        resume=resume,
    )


FORCES = np.array([[1.0, 2, 3], [-1, -2, -3]])
STRUCTURES = [
    atoms(labels={"REF_energy": -1.0, "note": "a"}, atom_labels={"REF_forces": FORCES}),
    atoms(labels={"REF_energy": -2.0, "charge": 1}, warnings=["Incorrect stoichiometry of 3 atoms"]),
    atoms(labels={"energy": -3.0}, warnings=["Incorrect stoichiometry of 5 atoms", "missing element"]),
    ValueError("the block cannot be read"),
    atoms(extra={"note": "b"}),
]


def test_account_lists_everything(tmp_path):
    passed_over = [{"file": "b.pdf", "reason": "no format with structures"}]
    manifest = write(tmp_path / "out", STRUCTURES, passed_over, on_error="skip")
    account = manifest.source["account"]
    assert account == {
        "files": 2,
        "passed_over": passed_over,
        "structures": 4,
        "skipped": 1,
        "targets": {
            "energy": {
                "structures": 3,
                "from": ["REF_energy", "energy"],
                "kind": "scalar",
                "units": "eV",
            },
            "force": {
                "structures": 1,
                "from": ["REF_forces"],
                "kind": "per_atom",
                "units": "eV/angstrom",
            },
        },
        "keys": {"charge": {"structures": 1, "from": ["charge"], "units": "e"}},
        "extra": {"note": 2},
        "labels": ["note"],
        "atom_labels": [],
        "warnings": [
            {"text": "Incorrect stoichiometry of 3 atoms", "count": 2, "example": "list:2"},
            {"text": "missing element", "count": 1, "example": "list:3"},
        ],
        "notes": [],
        "findings": [],
    }
    assert "passed_over" not in manifest.source
    shown = show_account(account)
    assert max(map(len, shown.splitlines())) <= 80
    for text in (
        "4 structures from 2 files",
        "1 skipped because of errors",
        "b.pdf: no format with structures",
        "force: 1 of 4 (per_atom, eV/angstrom), from REF_forces",
        "energy: 3 of 4 (scalar, eV), from REF_energy, energy",
        "charge: 1 of 4",
        "note (2)",
        "Incorrect stoichiometry of 3 atoms (2 times, first in list:2)",
    ):
        assert text in " ".join(shown.split())
    json.dumps(account)


@settings(max_examples=8)
@given(st.permutations(range(len(STRUCTURES))), st.integers(1, 5))
def test_order_and_parts_do_not_matter(tmp_path_factory, order, pieces):
    """The number of parts changes nothing; the order of structures changes only examples of warnings."""
    root = tmp_path_factory.mktemp("order")
    structures = [STRUCTURES[index] for index in order]
    first = write(root / "first" / "out", STRUCTURES, on_error="skip")
    whole = write(root / "whole" / "out", structures, on_error="skip")
    parts = write(root / "parts" / "out", structures, on_error="skip", pieces=pieces)
    assert (parts.schema, parts.source) == (whole.schema, whole.source)
    assert whole.schema == first.schema
    accounts = [
        {key: value for key, value in manifest.source["account"].items() if key != "warnings"}
        for manifest in (whole, first)
    ]
    assert accounts[0] == accounts[1]
    samples = {
        name: [
            str({key: np.asarray(value).tolist() for key, value in sample["targets"].items()})
            for sample in LMDBDataset(root / name / "out")
        ]
        for name in ("first", "whole", "parts")
    }
    assert samples["parts"] == samples["whole"]
    kept = [index for index in order if index != 3]  # the fourth is an error
    assert [samples["whole"][kept.index(index)] for index in sorted(kept)] == samples["first"]


def test_interrupted_import_has_same_account(tmp_path):
    many = [STRUCTURES[index % 3] for index in range(3000)]
    whole = write(tmp_path / "whole", many).source["account"]
    broken = [*many[:2500], ValueError("broken")]
    with pytest.raises(ValueError, match=r"list:2501: broken; kept [\d,]+ structure"):
        write(tmp_path / "out", broken)
    assert write(tmp_path / "out", many, resume=True).source["account"] == whole
    assert whole["warnings"][0]["count"] == 2000


def test_other_options_do_not_ask_to_resume(tmp_path):
    with pytest.raises(ValueError, match="kept"):
        write(tmp_path / "out", [*STRUCTURES[:1] * 1500, ValueError("broken")])
    with pytest.raises(ValueError, match=r"labels was .* and is now .*without resume \(--resume\)$"):
        write(tmp_path / "out", STRUCTURES[:1] * 1500, resume=True, targets=["energy"])


def test_import_without_targets_raises(tmp_path):
    structures = [atoms(labels={"E0": 1.0, "virial_stress": [1.0] * 6}, atom_labels={"Fx": np.ones((2, 3))})]
    with pytest.raises(
        ValueError,
        match=r"no targets were found\. The source has the labels of structures: E0, virial_stress; "
        r"labels of atoms: Fx\. virial_stress is not used, because its unit, .*--targets E0\); .*=\(\)",
    ):
        write(tmp_path / "out", structures)
    assert not list(tmp_path.iterdir())
    manifest = write(tmp_path / "out", structures, targets=())
    assert manifest.source["account"]["targets"] == {}
    assert "targets: none" in show_account(manifest.source["account"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"targets": {"energy": "REF_enrgy"}},
            r"no structure has the label 'REF_enrgy' \(for the target 'energy'\); did you mean "
            r"'REF_energy'\? The source has the labels of structures: .*REF_energy",
        ),
        ({"targets": ["gap"]}, r"no structure has the label 'gap'\. The source has"),
        (
            {"units": {"enrgy": "meV"}},
            "units contain 'enrgy', which is not a quantity; did you mean 'energy'",
        ),
        ({"classes": ["systm"]}, r"classes contain 'systm', which is not a target\. The source has"),
    ],
)
def test_unknown_name_raises(tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as error:
        write(tmp_path / "out", STRUCTURES[:3], **options)
    assert "resume" not in str(error.value)


def test_log_ignores_incomplete_line(tmp_path):
    log = PartLog(tmp_path / "log-00000.jsonl")
    with log:
        log.skipped(0, "a:1", ValueError("x"))
        log.warned(3, "a:4", "y")
    with log.path.open("a") as file:
        file.write('{"position": 4, "ki')
    assert [line["position"] for line in log.lines()] == [0, 3]
    assert log.resume(2) == 3
    assert [line["position"] for line in log.lines()] == [0]
