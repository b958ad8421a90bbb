import copy
import logging
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_graphs.neighbors.lattice import complete_cell
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals
from mml_samples import forget_notices
from pymatgen.core import Lattice, Structure

quick = settings(max_examples=30)
transforms = st.builds(
    PeriodicPropertiesTransform,
    cutoff_radius=st.sampled_from([2.0, 4.0]),
    backend=st.sampled_from(["auto", "numpy", "pymatgen", "vesin", "ase"]),
    max_neighbors=st.sampled_from([None, 1, 6]),
    allow_self_loops=st.booleans(),
    convert_to_unit_cell=st.booleans(),
    is_undirected=st.booleans(),
    symmetric=st.booleans(),
    on_isolated=st.just("allow"),
)
MOLECULE = {
    "atomic_numbers": [8, 1, 1],
    "pos": [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]],
    "sample_id": "water",
}


def equal(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, (torch.Tensor, np.ndarray)):
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[key])), key
        else:
            assert value == other[key], key


@given(crystal=crystals())
@quick
def test_what_a_sample_holds_after_it(crystal):
    sample = PeriodicPropertiesTransform(4.0, on_isolated="allow")(
        crystal.sample(sample_id="a", extra="kept")
    )
    num_edges = len(sample["src_nodes"])
    for key in ("pos", "cell", "images", "offsets", "unit_offsets", "distances"):
        assert sample[key].dtype == torch.float32, key
    for key in ("atomic_numbers", "src_nodes", "dst_nodes"):
        assert sample[key].dtype == torch.int64, key
    assert sample["cell"].shape == (1, 3, 3)
    assert sample["pbc"].tolist() == list(crystal.pbc)
    assert sample["images"].shape == sample["offsets"].shape == sample["unit_offsets"].shape == (num_edges, 3)
    assert sample["cutoff_radius"] == 4.0
    assert sample["extra"] == "kept"
    assert_same_edges(sample, brute_force_edges(*crystal, 4.0), atol=1e-5)
    src, dst = sample["src_nodes"], sample["dst_nodes"]
    torch.testing.assert_close(sample["offsets"], sample["images"] @ sample["cell"][0])
    vectors = sample["pos"][dst] + sample["offsets"] - sample["pos"][src]
    torch.testing.assert_close(sample["distances"], vectors.norm(dim=-1), atol=1e-5, rtol=1e-5)
    fractions = torch.tensor(crystal.positions @ np.linalg.inv(crystal.cell)).float()
    unit_offsets = fractions[dst] - fractions[src] + sample["images"]
    torch.testing.assert_close(sample["unit_offsets"], unit_offsets, atol=1e-5, rtol=1e-5)


def test_floats_follow_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        sample = PeriodicPropertiesTransform(2.0)(MOLECULE)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {sample[key].dtype for key in ("pos", "offsets", "distances", "cell")} == {torch.float64}


@given(crystal=crystals(), transform=transforms)
@quick
def test_input_is_not_changed(crystal, transform):
    sample = crystal.sample(sample_id="a")
    before = copy.deepcopy(sample)
    first = transform(sample)
    equal(sample, before)
    first["pos"].add_(1.0)
    first["atomic_numbers"].add_(1)
    equal(sample, before)
    transform(MOLECULE)
    again = transform(sample)
    equal(again, pickle.loads(pickle.dumps(transform))(sample))
    equal(again, eval(repr(transform))(sample))


@given(crystal=crystals(), transform=transforms)
@quick
def test_transform_is_idempotent(crystal, transform):
    once = transform(crystal.sample())
    equal(transform(once), once)


@given(crystal=crystals(), transform=transforms)
@quick
def test_options_act_on_every_input(crystal, transform):
    lattice = Lattice(crystal.cell, pbc=crystal.pbc)
    structure = Structure(
        lattice, ["C"] * len(crystal.positions), crystal.positions, coords_are_cartesian=True
    )
    result = transform(crystal.sample())
    other = transform({"structure": structure})
    del other["structure"]
    assert_same_edges(other, result, atol=1e-5)
    torch.testing.assert_close(other["pos"], result["pos"], atol=1e-5, rtol=0)


@given(crystal=crystals())
@quick
def test_convert_to_unit_cell_wraps_atoms(crystal):
    sample = PeriodicPropertiesTransform(3.0, convert_to_unit_cell=True, on_isolated="allow")(
        crystal.sample()
    )
    inverse = complete_cell(crystal.cell, crystal.pbc).inverse
    before, after = crystal.positions @ inverse, sample["pos"].double().numpy() @ inverse
    periodic = np.array(crystal.pbc)
    np.testing.assert_allclose(after[:, ~periodic], before[:, ~periodic], atol=1e-5)
    moved = (after - before)[:, periodic]
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-5)
    assert (after[:, periodic] > -1e-5).all()
    assert (after[:, periodic] < 1).all()
    assert_same_edges(sample, brute_force_edges(sample["pos"].double().numpy(), *crystal[1:], 3.0), atol=1e-5)


def test_options_combine():
    cell = np.eye(3) * 3.0
    sample = {"atomic_numbers": [6], "pos": [[0.0, 0, 0]], "cell": cell}

    def degree(**options):
        return len(PeriodicPropertiesTransform(4.5, **options)(sample)["src_nodes"])

    assert degree() == 18
    assert degree(max_neighbors=6) == 6
    assert degree(max_neighbors=7) == 18
    assert degree(is_undirected=True) == 9
    assert degree(allow_self_loops=True) == 19
    assert degree(max_neighbors=1, is_undirected=True, allow_self_loops=True) == 4


def test_undirected_keeps_pairs_of_either_end():
    chain = {"atomic_numbers": [6] * 4, "pos": [[0.0, 0, 0], [1.0, 0, 0], [2.5, 0, 0], [2.6, 1, 0]]}
    transform = PeriodicPropertiesTransform(1.6, max_neighbors=1, is_undirected=True)
    result = transform(chain)
    assert list(zip(result["src_nodes"].tolist(), result["dst_nodes"].tolist(), strict=True)) == [
        (0, 1),
        (2, 3),
    ]
    lone = {"atomic_numbers": [6] * 3, "pos": [[0.0, 0, 0], [1.0, 0, 0], [2.5, 0, 0]]}
    result = transform(lone)  # atom 2 keeps 1, atom 1 does not keep 2
    assert list(zip(result["src_nodes"].tolist(), result["dst_nodes"].tolist(), strict=True)) == [
        (0, 1),
        (1, 2),
    ]


@pytest.mark.parametrize("backend", ["auto", "numpy", "pymatgen", "vesin", "ase"])
def test_backends_grow_the_cutoff(backend):
    sample = {"atomic_numbers": [6], "pos": [[0.0, 0, 0]], "cell": np.eye(3) * 7.2}
    result = PeriodicPropertiesTransform(3.0, adaptive_cutoff=True, backend=backend)(sample)
    assert result["cutoff_radius"] == 7.5
    assert len(result["src_nodes"]) == 6


def test_molecules_have_zero_cell():
    result = PeriodicPropertiesTransform(1.2)(MOLECULE)
    assert not result["cell"].any()
    assert not result["pbc"].any()
    assert not result["images"].any()
    assert result["src_nodes"].tolist() == [0, 0, 1, 2]
    torch.testing.assert_close(result["unit_offsets"].norm(dim=1), result["distances"])


def test_isolated_atoms_are_counted_in_the_log(caplog):
    forget_notices()
    transform = PeriodicPropertiesTransform(0.5)
    with caplog.at_level(logging.WARNING):
        for _ in range(12):
            transform(MOLECULE)
    first, tenth = caplog.messages
    assert first == (
        "sample 'water': 3 atoms (0, 1, 2) have no neighbor within 0.5 angstrom "
        "(samples with isolated atoms so far: 1)"
    )
    assert tenth.endswith("so far: 10)")


def test_isolated_atoms_raise_or_are_allowed(caplog):
    with pytest.raises(
        ValueError, match=r"sample 'water': 3 atoms \(0, 1, 2\) have no neighbor within 0.5 .* Increase"
    ):
        PeriodicPropertiesTransform(0.5, on_isolated="raise")(MOLECULE)
    assert len(PeriodicPropertiesTransform(0.5, on_isolated="allow")(MOLECULE)["src_nodes"]) == 0
    assert not caplog.messages


def test_fractional_positions_are_reported_once(caplog):
    forget_notices()
    sample = {"atomic_numbers": [6, 6], "pos": [[0.0, 0, 0], [0.5, 0.5, 0.5]], "cell": np.eye(3) * 4}
    allow = {"on_isolated": "allow"}
    with caplog.at_level(logging.WARNING):
        PeriodicPropertiesTransform(3.0, is_cartesian=True, **allow)(sample)
        PeriodicPropertiesTransform(3.0, is_cartesian=False, **allow)(sample)
        PeriodicPropertiesTransform(3.0, **allow)({**sample, "pos": [[0.0, 0, 0], [0.5, 0.5, 1.5]]})
        assert not caplog.messages
        for _ in range(2):
            PeriodicPropertiesTransform(3.0, **allow)(sample)
    assert len(caplog.messages) == 1
    assert "used as Cartesian coordinates. Pass is_cartesian=False" in caplog.messages[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutoff_radius": 0}, "positive and finite, in angstrom, got 0"),
        ({"cutoff_radius": float("inf")}, "positive and finite, in angstrom, got inf"),
        ({"backend": "dgl"}, "backend must be one of .*, got 'dgl'"),
        ({"max_neighbors": 0}, "max_neighbors must be a positive integer, .* got 0"),
        ({"max_neighbors": 2.5}, "max_neighbors must be .* got 2.5"),
        ({"max_neighbors": True}, "max_neighbors must be .* got True"),
        ({"tie_tolerance": -0.1}, "tie_tolerance must be a non-negative length in angstrom, got -0.1"),
        ({"on_isolated": "ignore"}, "on_isolated must be one of 'warn', 'raise', 'allow', got 'ignore'"),
    ],
)
def test_bad_arguments_raise(options, message):
    with pytest.raises(ValueError, match=message):
        PeriodicPropertiesTransform(**{"cutoff_radius": 3.0, **options})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos": [[0.0, 0, np.nan]] * 3}, "^sample 'water': 'pos' contains values that are not finite"),
        ({"pos": np.zeros((3, 3))}, "^sample 'water': atoms 0 and 1 are at the same position"),
        ({"cell": np.zeros((3, 3))}, "^sample 'water': 'cell' .* no volume"),
        ({"pbc": [True, False, False]}, "^sample 'water': 'pbc' is .* but 'cell' is missing"),
    ],
)
def test_bad_samples_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        PeriodicPropertiesTransform(3.0)({**MOLECULE, **change})
