import pytest
from mml_data.importers.expressions import parse_expression
from mml_data.importers.label_names import AMBIGUOUS, RECOGNIZED, recognize
from mml_samples import QUANTITIES, SAMPLE_KEYS


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("energy", "energy"),
        ("REF_energy", "energy"),
        ("dft_energy", "energy"),
        ("Energy", "energy"),
        ("free_energy", "energy"),
        ("corrected_total_energy", "energy"),
        ("energy_per_atom", "energy"),
        ("forces", "force"),
        ("REF_forces", "force"),
        ("F", "force"),
        ("REF_stress", "stress"),
        ("virials", "stress"),
        ("magmoms", "magmom"),
        ("config_type", "config_type"),
        ("head", "head"),
    ],
)
def test_name_is_recognized(name, becomes):
    assert recognize(name).becomes == becomes


@pytest.mark.parametrize("name", ["MACE_energy", "energies", "band_gap", "virial_stress", "ref_tags"])
def test_other_name_is_not_recognized(name):
    assert recognize(name) is None


def test_table_is_consistent():
    names = [name for label in RECOGNIZED for name in label.names]
    assert len(names) == len(set(names))
    for label in RECOGNIZED:
        assert all(name == name.lower() for name in label.names)
        assert label.place != "target" or label.becomes in QUANTITIES
        assert label.place != "key" or label.becomes in SAMPLE_KEYS
        if label.factor:
            parse_expression(f"x:{label.factor.lstrip(':')}")
    assert not [name for name in AMBIGUOUS if recognize(name)]
