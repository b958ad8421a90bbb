import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs import PeriodicPropertiesTransform
from mml_graphs.skin import NeighborsWithSkin
from mml_graphs.testing import crystals

FAR = {"atomic_numbers": np.array([8, 1, 1]), "pos": np.array([[0.0, 0, 0], [0.8, 0.6, 0], [300.0, 0, 0]])}


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[key].dtype
            if key in ("offsets", "unit_offsets"):  # NumPy and C round sums and products differently
                torch.testing.assert_close(value, other[key], rtol=0, atol=1e-12)
            else:
                assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key


options = st.fixed_dictionaries(
    {
        "adaptive_cutoff": st.booleans(),
        "max_neighbors": st.sampled_from([None, 3]),
        "symmetric": st.booleans(),
        "allow_self_loops": st.booleans(),
        "is_undirected": st.booleans(),
        "convert_to_unit_cell": st.booleans(),
        "backend": st.sampled_from(["auto", "auto", "numpy", "pymatgen"]),
        "on_isolated": st.just("allow"),
    }
)


@given(
    crystal=crystals(),
    options=options,
    skin=st.sampled_from([0.25, 2.0]),
    speed=st.sampled_from([0.01, 0.3]),
    is_npt=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=80)
def test_trajectory_equals_new_searches(crystal, options, skin, speed, is_npt, seed):
    """Edges, their order, images and lengths are equal bit for bit."""
    if not any(crystal.pbc):
        options = {**options, "adaptive_cutoff": False}
    neighbors = PeriodicPropertiesTransform(3.5, **options)
    with_skin, rng = neighbors.with_skin(skin), np.random.default_rng(seed)
    sample = crystal.sample(sample_id="a")
    for step in range(6):
        assert_same(with_skin(sample), neighbors(sample))
        motion = rng.normal(size=sample["pos"].shape) * speed
        sample = {**sample, "pos": sample["pos"] + motion}
        if is_npt and step % 2:
            strain = np.eye(3) + rng.normal(size=(3, 3)) * 0.01
            sample = {**sample, "pos": sample["pos"] @ strain, "cell": sample["cell"] @ strain}


CUBE = {"atomic_numbers": np.array([29, 8]), "pos": np.zeros((2, 3)), "cell": np.eye(3) * 4.0}
CUBE["pos"][1] = 2.0


def moved(by, **keys):
    pos = CUBE["pos"].copy()
    pos[1, 2] += by
    return {**CUBE, "pos": pos, **keys}


def test_list_is_used_until_an_atom_moved_by_half_the_skin():
    neighbors = PeriodicPropertiesTransform(3.6).with_skin(0.5)
    searches = []
    for by in (0.0, 0.1, 0.25, 0.0, -0.25, 0.2500001, 0.4, 0.0, 0.1):
        neighbors(moved(by))
        searches.append(neighbors.num_searches)
    assert searches == [1, 1, 1, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"cell": np.eye(3) * 4.0001},
        {"pbc": np.array([True, True, False])},
        {"atomic_numbers": np.array([8, 29])},
        {"atomic_numbers": np.array([29]), "pos": np.zeros((1, 3))},
    ],
)
def test_changed_structure_is_searched_anew(change):
    plain = PeriodicPropertiesTransform(3.6, on_isolated="allow")
    neighbors = plain.with_skin(0.5)
    neighbors(CUBE)
    assert_same(neighbors({**CUBE, **change}), plain({**CUBE, **change}))
    assert neighbors.num_searches == 2


def test_adaptive_cutoff_follows_the_atoms():
    """The cutoff of each step is that of a new search. A list covers the steps within its skin."""
    plain = PeriodicPropertiesTransform(3.0, adaptive_cutoff=True)
    neighbors = plain.with_skin(1.5)
    cutoffs = []
    for by in (0.0, 0.3, 0.6, 0.0):
        sample = {"atomic_numbers": np.array([2, 2]), "pos": np.array([[0.0, 0, 0], [0, 0, 6.2 + by]])}
        assert_same(neighbors(sample), plain(sample))
        cutoffs.append(plain(sample)["cutoff_radius"])
    assert cutoffs == [6.5, 6.5, 7.0, 6.5]
    assert neighbors.num_searches == 2


def test_free_atoms_are_searched_anew():
    plain = PeriodicPropertiesTransform(5.0, adaptive_cutoff=True, on_isolated="allow")
    neighbors = plain.with_skin(1.0)
    for _ in range(3):
        assert_same(neighbors(FAR), plain(FAR))
    assert neighbors.num_searches == 3


def test_connectivity_is_that_of_a_new_search():
    plain = PeriodicPropertiesTransform(3.0, adaptive_cutoff=True, connectivity="graph")
    neighbors = plain.with_skin(1.0)
    slab = {"atomic_numbers": np.array([6]), "pos": np.zeros((1, 3)), "cell": np.diag([2.0, 2.0, 9.0])}
    for _ in range(2):
        assert_same(neighbors(slab), plain(slab))


def test_skin_is_chosen_and_checked():
    plain = PeriodicPropertiesTransform(3.0, backend="numpy")
    chosen = plain.with_skin()
    assert isinstance(chosen, NeighborsWithSkin)
    assert chosen.skin == 1.0
    native = PeriodicPropertiesTransform(3.0, backend="native")
    assert native.with_skin() is native
    for skin in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="skin must be positive and finite, in angstrom, got"):
            plain.with_skin(skin)
