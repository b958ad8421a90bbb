import numpy as np
import pytest
from mml_samples import check_sample
from mml_samples.testing import odd_structures


@pytest.mark.parametrize("name", odd_structures())
def test_odd_structures_fulfil_contract(name):
    sample = odd_structures()[name]
    check_sample(sample)
    if "cell" not in sample:
        assert not sample["pbc"].any()


def test_odd_structures_are_as_named():
    found = odd_structures()
    handedness = {name: np.linalg.det(each["cell"][0]) for name, each in found.items() if "cell" in each}
    assert [name for name, volume in handedness.items() if volume < 0] == ["left_handed_crystal"]
    assert handedness["slab"] == handedness["wire"] == 0
    assert handedness["slab_with_vacuum"] > 0
    assert {len(each["pos"]) for name, each in found.items() if "atom" in name} == {1}


def test_changes_do_not_affect_later_calls():
    odd_structures()["crystal"]["pos"][:] = np.nan
    assert np.isfinite(odd_structures()["crystal"]["pos"]).all()
