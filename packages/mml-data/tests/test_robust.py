import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mml_data.physics.robust import fit_line, gap, scale


@given(st.floats(-50, 50).filter(lambda slope: abs(slope) > 0.01), st.integers(0, 1000))
def test_line_ignores_outliers(slope, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=200)
    y = slope * x + random.normal(scale=0.01 * abs(slope), size=200)
    y[:40] = random.normal(scale=1000 * abs(slope), size=40)
    line = fit_line(x, y)
    assert abs(line.slope / slope - 1) < 0.05
    assert abs(line.slope / slope - 1) < 10 * line.error / abs(slope)
    assert line.explained > 0.9


def test_line_of_unrelated_values_explains_nothing():
    random = np.random.default_rng(0)
    assert fit_line(random.normal(size=500), random.normal(size=500)).explained < 0.1
    assert np.isnan(fit_line(np.zeros(3), np.ones(3)).slope)


def test_gap_separates_two_levels():
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(size=50), 20 + random.normal(size=10)])
    threshold, width, spread = gap(values)
    assert 3 < threshold < 17
    assert width > 3 * spread
    assert gap(random.normal(size=60))[1] < 2
    # A single outlier is not a level.
    assert gap(np.append(random.normal(size=60), 100))[1] < 5


def test_scale_estimates_standard_deviation():
    values = np.random.default_rng(0).normal(scale=3, size=10_000)
    assert abs(scale(np.append(values, [1e9] * 100)) / 3 - 1) < 0.05
