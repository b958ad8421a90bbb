import os

import numpy as np
import pytest
import torch
from mml_data import LMDBDataset
from mml_data.convert import import_source
from mml_data.importers.legacy import LegacyLMDB


def lips_record(index, num_atoms=3):
    rng = np.random.default_rng(index)
    return {
        "pos": torch.from_numpy(rng.normal(size=(num_atoms, 3), scale=0.1).astype(np.float32))
        + 2.5 * torch.arange(num_atoms)[:, None],
        "cell": 9.0 * torch.eye(3),
        "atomic_numbers": torch.full((num_atoms,), 3),
        "energy": np.float64(index),
        "force": torch.from_numpy(rng.normal(size=(num_atoms, 3)).astype(np.float32)),
        "pbc": torch.ones(3, dtype=torch.long),
    }


def test_numeric_keys_set_order(tmp_path, write_lmdb):
    keys = [0, 2, 10, 11, 100]
    source = write_lmdb(tmp_path / "set" / "data.lmdb", [lips_record(key) for key in keys], keys)
    for where in (source, source.parent):
        import_source(where, tmp_path / "out", splits=(1, 0, 0), overwrite=True)
        assert [float(sample["targets"]["energy"]) for sample in LMDBDataset(tmp_path / "out")] == keys


def test_parts_cover_files_in_order(tmp_path, write_lmdb):
    for number in range(3):
        records = [lips_record(10 * number + index) for index in range(number, 7)]
        write_lmdb(tmp_path / "set" / f"data.{number:04d}.lmdb", records)
    files = sorted((tmp_path / "set").glob("*.lmdb"))
    source = LegacyLMDB(files, "set")
    wanted = [place for part in source.parts(1) for place, _ in part.read()]
    assert len(wanted) == 7 + 6 + 5
    for count in (2, 3, 5, 18, 40):
        parts = source.parts(count)
        assert len(parts) <= count
        assert [place for part in parts for place, _ in part.read()] == wanted
        for part in parts:
            everything = [place for place, _ in part.read()]
            for start in range(len(everything) + 2):
                assert [place for place, _ in part.read(start)] == everything[start:]


def test_malicious_record_raises(tmp_path, write_lmdb):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    records = [lips_record(0), {**lips_record(1), "note": Malicious()}, lips_record(2)]
    source = write_lmdb(tmp_path / "data.lmdb", records)
    with pytest.raises(
        ValueError, match=r"data\.lmdb:1: the pickle refers to posix\.mkdir, .*--trust-pickle"
    ):
        import_source(source, tmp_path / "out")
    assert not (tmp_path / "made").exists()
    manifest = import_source(source, tmp_path / "out", splits=(1, 0, 0), on_error="skip")
    assert (manifest.num_samples, manifest.source["skipped"]) == (2, 1)
    assert not (tmp_path / "made").exists()
    import_source(source, tmp_path / "trusted", splits=(1, 0, 0), trust_pickle=True, on_error="skip")
    assert (tmp_path / "made").exists()


def test_invalid_lmdb_raises(tmp_path, write_lmdb):
    (tmp_path / "data.lmdb").write_text("text")
    with pytest.raises(ValueError, match=r"data\.lmdb' is not a readable LMDB file"):
        import_source(tmp_path / "data.lmdb", tmp_path / "out")
    write_lmdb(tmp_path / "empty.lmdb", [])
    with pytest.raises(ValueError, match=r"no records were found in .*empty\.lmdb"):
        import_source(tmp_path / "empty.lmdb", tmp_path / "out")
    with pytest.raises(
        ValueError, match=r"unknown reader 'mp'.*; the readers are VASP run, .*materials_project"
    ):
        import_source(tmp_path / "empty.lmdb", tmp_path / "out", reader="mp")
