from mml_data.elements import SYMBOLS


def test_symbols_stand_at_their_atomic_numbers():
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 119
    known = {1: "H", 6: "C", 26: "Fe", 47: "Ag", 57: "La", 72: "Hf", 79: "Au", 92: "U", 118: "Og"}
    assert {number: SYMBOLS[number] for number in known} == known
