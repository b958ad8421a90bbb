"""Checks of structures name the defective sample of a batch and no other."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.batch_view import BatchView, view_batch
from mml_diagnostics.checks.data import (
    duplicate_samples,
    fractional_positions,
    isolated_nodes,
    overlapping_atoms,
)
from mml_diagnostics.checks.runner import NotApplicableError

ALL = (fractional_positions, overlapping_atoms, isolated_nodes, duplicate_samples)


@pytest.fixture
def view_of(make_batch):
    return lambda samples: view_batch(make_batch(samples))


def structure(pos, numbers, edges=(), pbc=None):
    pos = torch.tensor(pos, dtype=torch.float64)
    return BatchView(
        pos=pos,
        structure_of=torch.zeros(len(pos), dtype=torch.int64),
        num_structures=1,
        atomic_numbers=torch.tensor(numbers),
        edge_index=torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T,
        offsets=torch.zeros(len(edges), 3, dtype=torch.float64),
        pbc=None if pbc is None else torch.tensor([pbc]),
        sample_ids=["it"],
    )


@pytest.mark.parametrize("check", ALL)
def test_checks_accept_healthy_batch(samples, view_of, check):
    assert check(view_of(samples)) == []


def test_fractional_positions_name_structure(samples, view_of):
    samples[4]["pos"] = samples[4]["pos"] / 4.0
    (problem,) = fractional_positions(view_of(samples))
    assert problem.where == "sample 'test/000004'"
    assert "The 5 atoms of sample 'test/000004'" in problem.message


@given(st.integers(3, 12), st.integers(0, 2**20), st.sampled_from([0.0, -0.5]))
def test_atoms_in_unit_box_look_fractional(n, seed, shift):
    pos = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) + shift
    assert len(fractional_positions(structure(pos.tolist(), [26] * n))) == 1


@pytest.mark.parametrize(
    ("pos", "numbers", "sick"),
    [
        ([[0, 0, 0]], [29], False),
        ([[0, 0, 0], [0.5, 0.5, 0.5]], [29, 30], True),  # B2, fractional
        ([[0, 0, 0], [1.5, 1.5, 1.5]], [29, 30], False),
        ([[0, 0, 0], [0.74, 0, 0]], [1, 1], False),  # H2
        ([[0, 0, 0], [0.65, 0.65, 0.65]], [6, 8], False),  # CO along a diagonal
        ([[0, 0, 0], [0.757, 0.586, 0], [-0.757, 0.586, 0]], [8, 1, 1], False),  # water
    ],
)
def test_small_structures_are_judged_by_distance(pos, numbers, sick):
    assert bool(fractional_positions(structure(pos, numbers))) == sick


def test_overlap_names_sample_and_atoms(samples, view_of):
    samples[6]["pos"][2] = samples[6]["pos"][0] + 0.1
    (problem,) = overlapping_atoms(view_of(samples))
    assert problem.where == "sample 'test/000006'"
    assert "Atoms 0 and 2" in problem.message or "Atoms 2 and 0" in problem.message
    assert f"{0.1 * math.sqrt(3):.3f} angstrom" in problem.message


def test_overlap_crosses_boundary_and_ignores_self_loops():
    view = structure([[0.0, 0, 0], [4.9, 0, 0]], [13, 13], [(0, 1), (1, 0)])
    assert overlapping_atoms(view) == []
    offsets = torch.tensor([[-5.0, 0, 0], [5.0, 0, 0]], dtype=torch.float64)
    assert len(overlapping_atoms(replace(view, offsets=offsets))) == 1
    assert overlapping_atoms(structure([[0.0, 0, 0]], [13], [(0, 0)])) == []


def test_isolated_atom_names_structure(samples, view_of):
    edges = samples[5]["edge_index"]
    keep = (edges != 3).all(dim=0)
    samples[5]["edge_index"], samples[5]["offsets"] = edges[:, keep], samples[5]["offsets"][keep]
    (problem,) = isolated_nodes(view_of(samples))
    assert problem.where == "sample 'test/000005'"
    assert "1 of the 6 atoms" in problem.message


def test_only_periodic_single_atoms_are_isolated():
    assert isolated_nodes(structure([[0.0, 0, 0]], [2])) == []
    assert isolated_nodes(structure([[0.0, 0, 0]], [2], pbc=[False, False, False])) == []
    assert len(isolated_nodes(structure([[0.0, 0, 0]], [2], pbc=[True, True, True]))) == 1


def test_duplicates_name_samples(samples, view_of):
    samples[7] = {**samples[1], "sample_id": "copy"}
    (problem,) = duplicate_samples(view_of(samples))
    assert problem.where == "sample 'test/000001'"
    assert "2 times (sample 'test/000001', sample 'copy')" in problem.message
    for key, change in (("pos", 1e-6), ("atomic_numbers", 1), ("cell", 0.5)):
        samples[7] = {**samples[1], key: samples[1][key] + change}
        assert duplicate_samples(view_of(samples)) == []


def test_edge_checks_require_edges(samples, view_of):
    view = replace(view_of(samples), edge_index=None)
    for check in (overlapping_atoms, isolated_nodes):
        with pytest.raises(NotApplicableError, match="edge_index"):
            check(view)
    with pytest.raises(NotApplicableError, match="offsets"):
        overlapping_atoms(replace(view_of(samples), offsets=None))
