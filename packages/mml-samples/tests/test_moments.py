import pickle

import mml_samples.moments
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mml_samples import Moments


@settings(deadline=None)
@given(
    st.lists(
        hnp.arrays("float64", hnp.array_shapes(max_dims=2, min_side=0), elements=st.floats(-1e6, 1e6)),
        max_size=9,
    ),
    st.integers(1, 20),
    st.integers(0, 9),
)
def test_merged_moments_equal_numpy(blocks, buffered, cut):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mml_samples.moments, "_BUFFERED", buffered)
        moments, other = Moments(), Moments()
        for index, block in enumerate(blocks):
            (other if index >= cut else moments).add(block)
        moments.merge(pickle.loads(pickle.dumps(other)))
        result = moments.result()
    values = np.concatenate([np.zeros(0), *[block.ravel() for block in blocks]])
    assert result["count"] == moments.count == values.size
    if values.size:
        scale = np.abs(values).max() + 1
        assert result["mean"] == moments.mean == pytest.approx(values.mean(), abs=1e-12 * scale)
        assert result["std"] == moments.std == pytest.approx(values.std(), rel=1e-9, abs=1e-9 * scale)
        assert (
            result["rms"]
            == moments.rms
            == pytest.approx(np.sqrt((values**2).mean()), rel=1e-9, abs=1e-9 * scale)
        )
        assert (
            (result["min"], result["max"])
            == (moments.minimum, moments.maximum)
            == (values.min(), values.max())
        )
    else:
        assert result == {"count": 0}
        assert np.isnan([moments.mean, moments.std, moments.rms]).all()


@pytest.mark.parametrize("convert", [np.array, torch.tensor, float])
def test_large_mean_keeps_small_spread(monkeypatch, convert):
    monkeypatch.setattr(mml_samples.moments, "_BUFFERED", 10)
    values = 1e8 + np.random.default_rng(0).normal(scale=1e-3, size=1000)
    moments = Moments()
    for value in values:
        moments.add(convert(value))
    assert moments.std == pytest.approx(values.std(), rel=1e-4)
