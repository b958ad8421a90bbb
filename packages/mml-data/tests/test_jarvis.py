from mml_data.importers.readers.jarvis import DIALECT

CELL = [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]
JARVIS = {"jid": "J-1", "atoms": {"lattice_mat": CELL, "coords": [[0, 0, 0]], "elements": ["Fe"]}}


def test_na_is_missing():
    found = DIALECT.convert(
        JARVIS | {"spillage": "na", "optb88vdw_bandgap": 0, "func": "OptB88vdW", "efg": "na"}
    )
    assert found["labels"] == {"optb88vdw_bandgap": 0, "func": "OptB88vdW"}
    assert found["sample_id"] == "J-1"
