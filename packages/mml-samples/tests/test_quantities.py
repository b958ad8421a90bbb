from typing import get_args

from mml_samples import QUANTITIES, Kind


def test_every_quantity_has_a_row_of_its_kind():
    rows = {"scalar": ((),), "vector": ((3,),), "tensor": ((3, 3),), "spectrum": (None,)}
    for name, quantity in QUANTITIES.items():
        assert quantity.kind in get_args(Kind)
        assert quantity.kind == "per_atom" or quantity.row in rows[quantity.kind], name


def test_energy_is_extensive_and_force_is_not():
    assert QUANTITIES["energy"].extensive
    assert not QUANTITIES["force"].extensive
    assert QUANTITIES["forces"] == QUANTITIES["force"]
