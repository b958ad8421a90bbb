import json

import numpy as np
import pytest
from mml_data.importers.readers.dpdata_json import FORMAT, read_dpdata

rng = np.random.default_rng(0)
COORDS, FORCES, VIRIALS = rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 3, 3))


def array(values):
    return {"@module": "numpy", "@class": "array", "dtype": "float64", "data": np.asarray(values).tolist()}


DATA = {
    "atom_names": ["H", "O"],
    "atom_numbs": [2, 1],
    "atom_types": array([0, 0, 1]),
    "orig": array([0, 0, 0]),
    "cells": array([2 * np.eye(3)] * 2),
    "coords": array(COORDS),
    "energies": array([-1.0, -2.0]),
    "forces": array(FORCES),
    "virials": array(VIRIALS),
}


@pytest.mark.parametrize("nopbc", [False, True])
def test_frames_are_read(tmp_path, nopbc):
    content = {"@module": "dpdata.system", "@class": "LabeledSystem", "data": DATA | {"nopbc": nopbc}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert FORMAT.matches("a.json", (tmp_path / "a.json").read_bytes())
    found = [structure for _, structure in read_dpdata(tmp_path / "a.json")]
    assert [each["labels"]["energy"] for each in found] == [-1, -2]
    np.testing.assert_array_equal([each["positions"] for each in found], COORDS)
    np.testing.assert_array_equal([each["atom_labels"]["forces"] for each in found], FORCES)
    assert found[0]["atomic_numbers"] == [1, 1, 8]
    assert (found[0]["cell"] is None) == nopbc
    if not nopbc:
        np.testing.assert_allclose([each["labels"]["stress"] for each in found], -VIRIALS / 8)


def test_damaged_file_is_item(tmp_path):
    (tmp_path / "a.json").write_text('{"@module": "dpdata.system", "data": {')
    ((_, error),) = read_dpdata(tmp_path / "a.json")
    assert "the system cannot be read" in str(error)
