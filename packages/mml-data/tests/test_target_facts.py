import pytest
from mml_data.loading.target_facts import with_target_facts


@pytest.mark.parametrize(
    ("numbers", "entry", "kind"),
    [
        ({"per_atom_mean": 0.1}, {"shape": None}, "scalar"),
        ({"per_atom_mean": 0.1}, {"shape": [1]}, "scalar"),
        ({"classes": [0, 1]}, {"shape": None}, "class"),
        ({}, {"shape": ["N", 3]}, "per_atom"),
        ({}, {"shape": [1, 3]}, "vector"),
        ({}, {"shape": [1, 3, 3]}, "tensor"),
        ({}, {"shape": [1, 50]}, "spectrum"),
        ({}, {"shape": [1, 3], "kind": "spectrum"}, "spectrum"),
        ({}, {"shape": None}, None),
    ],
)
def test_kind_follows_from_schema(numbers, entry, kind):
    found = with_target_facts({"x": numbers}, {"targets.x": entry})["x"]
    assert found.get("kind") == kind


def test_known_facts_are_added():
    entry = {"kind": "class", "unit": "eV", "shape": None, "class_names": ["a", "b"]}
    found = with_target_facts({"x": {"count": 2}, "y": {"mean": 1.0}}, {"targets.x": entry})
    expected = {"count": 2, "kind": "class", "unit": "eV", "class_names": ["a", "b"]}
    assert found == {"x": expected, "y": {"mean": 1.0}}
