import pytest
from mml_tasks.elements import SYMBOLS, atomic_number


def test_symbols_and_numbers():
    assert len(SYMBOLS) == 119
    assert [SYMBOLS[z] for z in (1, 13, 26, 57, 79, 92, 118)] == ["H", "Al", "Fe", "La", "Au", "U", "Og"]
    for number in range(1, 119):
        assert atomic_number(SYMBOLS[number]) == atomic_number(number) == atomic_number(str(number)) == number


@pytest.mark.parametrize("element", ["", "al", "Xx", 0, 119, -1, "1.5", None, True])
def test_what_is_no_element_is_refused(element):
    with pytest.raises(ValueError, match="is no chemical element"):
        atomic_number(element)
