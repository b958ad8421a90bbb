import pytest
from mml_samples import SYMBOLS, atomic_number


def test_symbols_are_indexed_by_atomic_number():
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 119
    known = {1: "H", 6: "C", 26: "Fe", 47: "Ag", 57: "La", 72: "Hf", 79: "Au", 92: "U", 118: "Og"}
    assert {number: SYMBOLS[number] for number in known} == known


def test_atomic_number_inverts_symbols():
    for number in range(1, 119):
        assert atomic_number(SYMBOLS[number]) == atomic_number(number) == atomic_number(str(number)) == number


@pytest.mark.parametrize("element", ["", "al", "X", "Xx", 0, 119, -1, "1.5", None, True])
def test_unknown_element_raises(element):
    with pytest.raises(ValueError, match=r"is not a chemical element\. Pass a symbol such as 'Al'"):
        atomic_number(element)
