import pytest
from mml_data.importers.readers.symbols import numbers_of


def test_symbols_become_numbers():
    numbers, warnings = numbers_of(["H", "Fe", "6", "Og"])
    assert numbers.tolist() == [1, 26, 6, 118]
    assert warnings == []


def test_isotopes_are_reported():
    numbers, warnings = numbers_of(["D", "O", "T", "D"])
    assert numbers.tolist() == [1, 8, 1, 1]
    assert warnings == ["the isotope D is imported as H", "the isotope T is imported as H"]


@pytest.mark.parametrize("symbol", ["X", "Fe3+", "h", "0", "119", ""])
def test_unknown_symbols_raise(symbol):
    with pytest.raises(ValueError, match="is not a chemical element"):
        numbers_of(["H", symbol])
