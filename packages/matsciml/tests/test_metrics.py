import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matsciml.report.metrics import Classification, Regression

values = arrays(np.float64, 12, elements=st.floats(-1e3, 1e3, width=32))


@given(values, values, st.floats(-10, 10))
def test_regression_errors_equal_definitions(predicted, target, baseline):
    errors = Regression("x", "eV", predicted, target, baseline).errors()
    assert errors["mae"] == pytest.approx(
        sum(abs(p - t) for p, t in zip(predicted, target, strict=True)) / 12
    )
    assert errors["mae"] <= errors["rmse"] * (1 + 1e-12)
    assert errors["baseline_mae"] == pytest.approx(np.mean([abs(baseline - t) for t in target]))
    perfect = Regression("x", "eV", target, target, baseline).errors()
    assert perfect["mae"] == 0
    assert np.isnan(perfect["r2"]) or perfect["r2"] == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_classification_errors_equal_definitions(pairs):
    predicted, target = (np.array(column) for column in zip(*pairs, strict=True))
    errors = Classification("x", predicted, target, 0).errors()
    assert errors["accuracy"] == pytest.approx(sum(p == t for p, t in pairs) / len(pairs))
    assert errors["baseline_accuracy"] == pytest.approx(sum(t == 0 for _, t in pairs) / len(pairs))
    recalls = [np.mean([p == t for p, t in pairs if t == c]) for c in {t for _, t in pairs}]
    assert errors["balanced_accuracy"] == pytest.approx(np.mean(recalls))
