import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_data.importers.expressions import Expression, did_you_mean, parse_expression, unit_value

units = pytest.importorskip("ase.units")


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("REF_energy", Expression("REF_energy")),
        ("virial:-1/volume", Expression("virial", -1.0, volume=-1)),
        ("e:*natoms", Expression("e", natoms=1)),
        ("e: 2.5 * natoms / natoms", Expression("e", 2.5)),
        ("s:-0.1*GPa", Expression("s", -0.1 * units.GPa)),
        ("s:kbar*-1", Expression("s", -1000 * units.bar)),
        ("e:kcal/mol", Expression("e", units.kcal / units.mol)),
        ("p:/volume", Expression("p", volume=-1)),
        ("x:bohr^2", Expression("x", units.Bohr**2)),
    ],
)
def test_expression_is_parsed(text, expression):
    found = parse_expression(text)
    assert (found.name, found.volume, found.natoms) == (
        expression.name,
        expression.volume,
        expression.natoms,
    )
    assert found.factor == pytest.approx(expression.factor)


@given(st.sampled_from([1.0, -1.0, 27.2, 1e-5]), st.integers(-2, 2), st.integers(-2, 2))
def test_text_of_expression_is_parsed_again(factor, volume, natoms):
    expression = Expression("label", factor, volume, natoms)
    assert parse_expression(str(expression)) == expression


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not an expression; write NAME or NAME:FACTOR"),
        ("virial:", "is not an expression"),
        ("virial:-1/volum", r"'volum' is not a known unit; did you mean 'volume'\?"),
        ("virial:-1 volume", r"'\*' or '/' was expected at 'volume'"),
        ("virial:/", "was expected at ''"),
        ("virial:0*volume", "0 is not a valid factor"),
        ("virial:__import__('os')", "'__import__' is not a known unit"),
    ],
)
def test_invalid_expression_raises(text, message):
    with pytest.raises(ValueError, match=message):
        parse_expression(text)


def test_unit_equals_ase():
    expected = {
        "eV": 1.0,
        "meV": 1e-3,
        "Hartree": units.Hartree,
        "ry": units.Ry,
        "kJ/mol": units.kJ / units.mol,
        "hartree/bohr": units.Hartree / units.Bohr,
        "eV/nm": 1 / units.nm,
        "GPa": units.GPa,
        "kbar": 0.1 * units.GPa,
        "e": 1.0,
        "Debye": units.Debye,
    }
    assert {unit: unit_value(unit) for unit in expected} == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"'hatree' is not a known unit; did you mean 'hartree'"):
        unit_value("hatree")
    with pytest.raises(ValueError, match="it contains 'volume'"):
        unit_value("eV/volume")


def test_scale_needs_volume():
    assert Expression("v", -1.0, volume=-1).scale(4.0, 2) == -0.25
    assert Expression("v", -1.0, volume=-1).scale(None, 2) is None
    assert Expression("e", natoms=1).scale(None, 3) == 3.0


def test_nearest_name_is_suggested():
    assert did_you_mean("REF_enrgy", ["REF_energy", "dipole"]) == "; did you mean 'REF_energy'?"
    assert did_you_mean("x", ["REF_energy"]) == "."
