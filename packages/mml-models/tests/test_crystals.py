from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_models.testing import Crystal, crystal_batch, random_crystal, supercell
from mml_models.testing.crystals import neighbors

crystals = st.builds(random_crystal, st.integers(0, 10**6), st.integers(1, 4))


def test_cubic_neighbors_form_shells():
    cubic = Crystal(torch.tensor([29]), torch.zeros(1, 3).double(), 2.0 * torch.eye(3).double())
    for radius, count in ((1.9, 0), (2.0, 6), (2.9, 18), (3.5, 26), (4.0, 32)):
        assert neighbors(cubic, radius)[0].shape[1] == count


@given(crystals, st.integers(0, 1000))
def test_neighbors_equal_larger_search(crystal, seed):
    images = torch.randint(-2, 3, crystal.pos.shape, generator=torch.Generator().manual_seed(seed)).double()
    crystal = Crystal(crystal.numbers, crystal.pos + images @ crystal.cell, crystal.cell)
    edge_index, found = neighbors(crystal, 4.0)
    span = torch.arange(-8, 9).double()
    offsets = torch.cartesian_prod(span, span, span) @ crystal.cell
    distances = (crystal.pos[None, :, None] + offsets - crystal.pos[:, None, None]).norm(dim=-1)
    assert edge_index.shape[1] == int(((distances <= 4.0) & (distances > 1e-9)).sum())
    lengths = (crystal.pos[edge_index[1]] + found @ crystal.cell - crystal.pos[edge_index[0]]).norm(dim=1)
    assert bool((lengths <= 4.0).all())
    assert bool((edge_index[0].diff() >= 0).all())
    assert len(
        {(*pair, *image) for pair, image in zip(edge_index.T.tolist(), found.tolist(), strict=True)}
    ) == len(found)


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_random_crystal_separates_atoms_and_repeats(seed, num_atoms):
    crystal = random_crystal(seed, num_atoms)
    assert neighbors(crystal, 1.6)[0].shape[1] == 0
    assert torch.equal(random_crystal(seed, num_atoms).pos, crystal.pos)


def test_supercell_keeps_environments():
    crystal = random_crystal(0)
    large = supercell(crystal, (2, 1, 3))
    count = [torch.bincount(neighbors(c, 4.0)[0][0], minlength=len(c.numbers)) for c in (crystal, large)]
    assert count[1].tolist() == count[0].tolist() * 6
    with pytest.raises(ValueError, match="A molecule has no supercell"):
        supercell(Crystal(crystal.numbers, crystal.pos, None), (2, 1, 1))


def test_batch_follows_sample_contract():
    batch = crystal_batch([random_crystal(0, 2), random_crystal(1, 3)], 4.0)
    graph = batch["graph"]
    assert batch["natoms"].tolist() == graph.natoms.tolist() == [2, 3]
    assert graph.cell.shape == (2, 3, 3)
    assert graph.pbc.tolist() == [[True] * 3] * 2
    assert graph.batch.tolist() == [0, 0, 1, 1, 1]
    torch.testing.assert_close(
        torch.einsum("ei,eij->ej", graph.images, graph.cell[graph.batch[graph.edge_index[0]]]), graph.offsets
    )


SCRIPT = """
import sys
import torch
import mml_models
heavy = {"ase", "dgl", "matplotlib", "pymatgen", "pytorch_lightning", "torch_geometric", "wandb"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
mml_models.EGNN()
mml_models.SchNet()
assert "torch_geometric" not in sys.modules
import warnings
warnings.simplefilter("error", FutureWarning)
warnings.simplefilter("error", DeprecationWarning)
from mml_models.testing import crystal_batch, random_crystal
crystal_batch([random_crystal(0)], 3.0)
assert "torch_geometric" in sys.modules
"""


def test_torch_geometric_is_imported_on_first_use():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
