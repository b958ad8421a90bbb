import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_samples.bin_moments import BinMoments

BLOCKS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(BLOCKS, st.integers(0, 100), st.sampled_from([0.0, -5e5]))
def test_moments_equal_those_of_all_spectra(sizes, seed, offset):
    random = np.random.default_rng(seed)
    blocks = [random.normal(size=(size, 5)) + offset for size in sizes]
    for block in blocks:
        block[random.random(block.shape) < 0.2] = np.nan
    merged, whole = BinMoments(), np.concatenate(blocks)
    for block in blocks:
        part = BinMoments()
        part.add(block)
        merged.merge(part)
    for column, count, mean, std in zip(whole.T, merged.count, merged.mean, merged.std, strict=True):
        known = column[~np.isnan(column)]
        assert count == known.size
        if known.size:
            assert mean == pytest.approx(known.mean(), rel=1e-12)
            assert std == pytest.approx(known.std(), abs=1e-9)
        else:
            assert np.isnan(mean)
    complete = bool(merged.count.all())
    assert set(merged.result()) == ({"bin_mean", "bin_std"} if complete else set())


def test_different_lengths_are_refused():
    moments = BinMoments()
    moments.add(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="spectra of 4 points cannot be added to those of 5"):
        moments.add(np.zeros((1, 4)))
    moments.merge(BinMoments())
    assert moments.count.tolist() == [2] * 5
