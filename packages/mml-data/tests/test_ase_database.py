from pathlib import Path

import numpy as np
import pytest
from mml_data.importers.readers.ase_database import FORMAT, read_database

ase = pytest.importorskip("ase")
from ase.constraints import FixAtoms  # noqa: E402
from ase.db import connect  # noqa: E402

CASES = Path(__file__).parents[3].parent / "shared" / "cases" / "structures" / "17-oc20"


@pytest.mark.parametrize("suffix", ["db", "aselmdb"])
def test_rows_keep_labels_constraints_and_data(tmp_path, suffix):
    if suffix == "aselmdb":
        pytest.importorskip("ase_db_backends")
    path = tmp_path / f"a.{suffix}"
    database = connect(str(path), **({"type": "aselmdb"} if suffix == "aselmdb" else {}))
    atoms = ase.Atoms("H2O", positions=np.eye(3), constraint=FixAtoms([2]), tags=[0, 1, 2])
    database.write(atoms, key_value_pairs={"gap": 0.5}, data={"charge": -1, "spin": 2, "nested": {"a": 1}})
    if hasattr(database, "close"):
        database.close()
    assert FORMAT.matches(path.name, path.read_bytes()[:100])
    ((place, item),) = read_database(path)
    assert place.endswith(f"a.{suffix}:row 1")
    assert (item["labels"]["gap"], item["labels"]["charge"], item["labels"]["spin"]) == (0.5, -1, 2)
    assert item["atom_labels"]["fixed"].tolist() == [False, False, True]
    assert item["atom_labels"]["tags"].tolist() == [0, 1, 2]
    assert item["extra"] == {"frame": 0, "nested": {"a": 1}}
    assert item["cell"] is None


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not available")
def test_slabs_keep_tags_and_fixed_atoms():
    items = [item for _, item in read_database(CASES / "slabs.db")]
    assert all({"tags", "fixed", "forces"} <= item["atom_labels"].keys() for item in items)
