import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mml_graphs import Edges, find_edges, periodic_edges_batch
from mml_graphs.testing import assert_same_edges, brute_force_edges, crystals

ALL, NONE = (True, True, True), (False, False, False)
DATA = Path(__file__).parents[3].parent / "shared" / "data"

quick = settings(max_examples=40)
cutoffs = st.integers(2, 24).map(lambda n: n / 4)
batches = st.lists(crystals(), min_size=1, max_size=4)


def tensors(structures, dtype=torch.float64):
    """Stack (positions, cell, pbc) into the arguments of a batch."""
    positions, cells, pbc = zip(*structures, strict=True)
    return (
        torch.tensor(np.concatenate(positions), dtype=dtype),
        torch.tensor(np.stack(cells), dtype=dtype),
        torch.tensor(pbc),
        torch.repeat_interleave(torch.tensor([len(p) for p in positions])),
    )


def plain(edges):
    """As `Edges` of numpy arrays."""
    found = (edges.src, edges.dst, edges.images, edges.distances)
    return Edges(*(value.detach().double().numpy() for value in found))._replace(
        src=edges.src.numpy(), dst=edges.dst.numpy()
    )


def joined(parts, sizes):
    """Edges of structures one by one, as those of a batch."""
    starts = np.cumsum([0, *sizes[:-1]])
    moved = [p._replace(src=p.src + s, dst=p.dst + s) for p, s in zip(parts, starts, strict=True)]
    return Edges(*(np.concatenate(column) for column in zip(*moved, strict=True)))


def one_by_one(search, structures, cutoff):
    parts = [search(*structure, cutoff) for structure in structures]
    return joined(parts, [len(structure[0]) for structure in structures])


def bulk(n_side, spacing=2.15, seed=0):
    """A disordered cubic crystal of n_side**3 atoms."""
    sites = np.stack(np.meshgrid(*[np.arange(n_side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    noise = np.random.default_rng(seed).uniform(-0.25, 0.25, sites.shape)
    return (sites + noise) * spacing, np.eye(3) * n_side * spacing, ALL


@given(structures=batches, cutoff=cutoffs)
@quick
def test_edges_equal_oracle(structures, cutoff):
    edges = periodic_edges_batch(*tensors(structures), cutoff)
    assert_same_edges(plain(edges), one_by_one(brute_force_edges, structures, cutoff))


@given(structures=batches, cutoff=cutoffs, dtype=st.sampled_from([torch.float32, torch.bfloat16]))
@quick
def test_batch_edges_equal_find_edges(structures, cutoff, dtype):
    arguments = tensors(structures, dtype)
    stored = [
        (positions.double().numpy(), cell.double().numpy(), structure.pbc)
        for positions, cell, structure in zip(
            arguments[0].split([len(s.positions) for s in structures]), arguments[1], structures, strict=True
        )
    ]
    try:
        expected = one_by_one(find_edges, stored, cutoff)
    except ValueError:  # rounding has put two atoms at the same position
        assume(False)
    edges = periodic_edges_batch(*arguments, cutoff)
    assert edges.vectors.dtype == edges.offsets.dtype == edges.distances.dtype == torch.float32
    assert_same_edges(plain(edges), expected, atol=1e-5)


@given(structure=crystals(max_atoms=2, min_length=1.0, max_length=2.0))
@settings(max_examples=15)
def test_edges_equal_oracle_beyond_the_cell(structure):
    edges = periodic_edges_batch(*tensors([structure]), 5.25)
    assert_same_edges(plain(edges), brute_force_edges(*structure, 5.25))


@given(data=st.data(), structure=crystals(max_atoms=2), cutoff=st.integers(4, 12).map(lambda n: n / 4))
def test_binned_edges_equal_find_edges(data, structure, cutoff):
    """Supercells have enough atoms for bins; skewed, mixed pbc, and some atoms moved by lattice vectors."""
    repeats = np.array(data.draw(st.permutations([7, 4, 3])))
    copies = np.stack(np.meshgrid(*map(range, repeats), indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (structure.positions[:, None] + copies @ structure.cell).reshape(-1, 3)
    cell = structure.cell * repeats[:, None]
    moved = np.random.default_rng(0).integers(-2, 3, (len(positions), 3)) * np.array(structure.pbc)
    large = (positions + moved @ cell, cell, structure.pbc)
    structures = [structure, large, bulk(4)]
    edges = periodic_edges_batch(*tensors(structures), cutoff)
    assert_same_edges(plain(edges), one_by_one(find_edges, structures, cutoff))


@given(structures=batches, cutoff=cutoffs)
@quick
def test_edges_are_consistent(structures, cutoff):
    pos, cell, pbc, batch = tensors(structures)
    edges = periodic_edges_batch(pos, cell, pbc, batch, cutoff)
    src, dst, images, offsets, vectors, distances = edges
    assert (src.diff() >= 0).all()
    assert src.dtype == dst.dtype == torch.int64
    assert torch.equal(batch[src], batch[dst])
    assert torch.equal(images, images.round())
    assert not images[~pbc[batch[src]]].any()
    assert all(value.is_contiguous() for value in edges)
    expected = torch.einsum("ei,eij->ej", images, cell[batch[src]])
    torch.testing.assert_close(offsets, expected)
    torch.testing.assert_close(vectors, pos[dst] + offsets - pos[src])
    torch.testing.assert_close(distances, vectors.norm(dim=1))
    reverse = Edges(dst.numpy(), src.numpy(), -images.numpy(), distances.numpy())
    assert_same_edges(plain(edges), reverse, atol=0.0)


@given(structures=batches, cutoff=cutoffs)
@quick
def test_batch_equals_its_parts(structures, cutoff):
    parts = [plain(periodic_edges_batch(*tensors([structure]), cutoff)) for structure in structures]
    whole = plain(periodic_edges_batch(*tensors(structures), cutoff))
    assert_same_edges(whole, joined(parts, [len(s.positions) for s in structures]), atol=0.0)


@given(structures=batches, cutoff=cutoffs, data=st.data())
@quick
def test_atoms_may_come_in_any_order(structures, cutoff, data):
    pos, cell, pbc, batch = tensors(structures)
    order = torch.tensor(data.draw(st.permutations(range(len(pos)))))
    edges = periodic_edges_batch(pos[order], cell, pbc, batch[order], cutoff)
    assert (edges.src.diff() >= 0).all()
    renamed = edges._replace(src=order[edges.src], dst=order[edges.dst])
    assert_same_edges(plain(renamed), plain(periodic_edges_batch(pos, cell, pbc, batch, cutoff)))


@given(structures=batches, cutoff=cutoffs, seed=st.integers(0, 99))
@quick
def test_wrapping_changes_only_images(structures, cutoff, seed):
    pos, cell, pbc, batch = tensors(structures)
    edges = periodic_edges_batch(pos, cell, pbc, batch, cutoff)
    generator = torch.Generator().manual_seed(seed)
    # Whole lattice vectors and quarters of angstroms keep all coordinates short binary fractions.
    laps = torch.randint(-3, 4, pos.shape, generator=generator) * pbc[batch]
    shift = torch.randint(-9, 10, (len(cell), 3), generator=generator) / 4
    moved = pos + torch.einsum("ni,nij->nj", laps.double(), cell[batch]) + shift[batch]
    other = periodic_edges_batch(moved, cell, pbc, batch, cutoff)
    images = other.images + laps[other.dst] - laps[other.src]
    assert_same_edges(plain(other._replace(images=images)), plain(edges))


def test_cutoff_is_inclusive():
    cubic = tensors([(np.zeros((1, 3)), np.eye(3) * 3.0, ALL)])
    assert len(periodic_edges_batch(*cubic, 3.0).src) == 6
    assert len(periodic_edges_batch(*cubic, float(np.nextafter(3.0, 0))).src) == 0
    for seed in range(50):
        positions = np.random.default_rng(seed).uniform(-3, 3, (2, 3))
        distance = float(find_edges(positions, None, NONE, 20.0).distances[0])
        pair = tensors([(positions, np.zeros((3, 3)), NONE)])
        for cutoff in (distance, float(np.nextafter(distance, 0)), float(np.nextafter(distance, 9))):
            expected = len(find_edges(positions, None, NONE, cutoff).src)
            assert len(periodic_edges_batch(*pair, cutoff).src) == expected


@pytest.mark.parametrize("name", ["materials_project", "lips"])
def test_real_edges_equal_find_edges(name):
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the repository")
    with path.open() as lines:
        entries = [json.loads(line) for line, _ in zip(lines, range(48), strict=False)][::3]
    structures = [(np.array(e["positions"]), np.array(e["cell"]), tuple(e["pbc"])) for e in entries]
    edges = periodic_edges_batch(*tensors(structures), 6.0)
    assert_same_edges(plain(edges), one_by_one(find_edges, structures, 6.0))


def test_large_cell_equals_vesin():
    structure = bulk(27)
    edges = periodic_edges_batch(*tensors([structure]), 4.0)
    expected = find_edges(*structure, 4.0, "vesin")
    assert len(edges.src) > 4e5

    def table(src, dst, images):
        columns = [src, dst, *np.asarray(images, dtype=np.int64).T]
        return np.stack(columns)[:, np.lexsort(columns[::-1])]

    np.testing.assert_array_equal(
        table(edges.src.numpy(), edges.dst.numpy(), edges.images.numpy()),
        table(expected.src, expected.dst, expected.images),
    )


def test_distant_clusters_have_own_bins():
    """Nearly all bins are empty: they are searched for, not tabled."""
    positions, _, _ = bulk(4)
    apart = np.concatenate([positions, positions + np.array([0, 3e4, -1e5]), [[5e3, 0, 0]]])
    structures = [(apart, np.zeros((3, 3)), NONE), bulk(5)]
    edges = periodic_edges_batch(*tensors(structures), 3.0)
    assert_same_edges(plain(edges), one_by_one(find_edges, [(apart, None, NONE), bulk(5)], 3.0))


def test_empty_structures_are_skipped():
    water = np.array([[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    pos = torch.tensor(np.concatenate([water, water + 9.0]))
    cell = torch.zeros(4, 3, 3, dtype=torch.float64)
    cell[2] = torch.nan  # has no atoms: not looked at
    batch = torch.tensor([1, 1, 1, 3, 3, 3], dtype=torch.int32)
    edges = periodic_edges_batch(pos, cell, [False] * 3, batch, 1.0)
    assert edges.src.tolist() == [0, 0, 1, 2, 3, 3, 4, 5]
    assert edges.dst.tolist() == [1, 2, 0, 0, 4, 5, 3, 3]
    for num_structures in (0, 2):
        none = periodic_edges_batch(pos[:0], cell[:num_structures], [True] * 3, batch[:0], 1.0)
        assert [list(value.shape) for value in none] == [[0], [0], [0, 3], [0, 3], [0, 3], [0]]


def test_a_slab_with_no_third_vector():
    cell = np.array([[3.0, 0, 0], [0, 0, -3.0], [0, 0, 0]])
    edges = periodic_edges_batch(*tensors([(np.array([[0.0, 9.0, 0.0]]), cell, (True, True, False))]), 3.0)
    assert sorted(edges.images.int().tolist()) == [[-1, 0, 0], [0, -1, 0], [0, 1, 0], [1, 0, 0]]


def skewed_pair(dtype=torch.float64):
    cell = torch.tensor([[[3.1, 0.2, 0.1], [0.7, -2.9, 0.3], [-0.4, 0.6, 3.3]], [[0.0] * 3] * 3], dtype=dtype)
    pos = torch.tensor([[0.1, 0.2, 0.3], [1.7, -1.1, 4.0], [0.0, 0.0, 0.0], [0.9, 1.1, -0.4]], dtype=dtype)
    pbc = torch.tensor([[True] * 3, [False] * 3])
    return pos, cell, pbc, torch.tensor([0, 0, 1, 1])


def test_distances_are_twice_differentiable():
    pos, cell, pbc, batch = skewed_pair()
    pos.requires_grad_()
    cell.requires_grad_()

    def geometry(pos, cell):
        edges = periodic_edges_batch(pos, cell, pbc, batch, 3.4)
        return edges.vectors, edges.distances, edges.offsets

    assert torch.autograd.gradcheck(geometry, (pos, cell))
    assert torch.autograd.gradgradcheck(geometry, (pos, cell))


def test_gradients_reach_half_precision():
    pos, cell, pbc, batch = skewed_pair(torch.bfloat16)
    pos.requires_grad_()
    edges = periodic_edges_batch(pos, cell, pbc, batch, 3.4)
    edges.distances.square().sum().backward()
    exact = skewed_pair(torch.bfloat16)[0].double().requires_grad_()
    edges = periodic_edges_batch(exact, cell.double(), pbc, batch, 3.4)
    edges.distances.square().sum().backward()
    torch.testing.assert_close(pos.grad, exact.grad.bfloat16())


def test_peak_memory_is_proportional_to_edges():
    """In a process of its own: what the process needs beyond its imports, in bytes an edge."""
    code = """
import pathlib, resource, sys, torch
from mml_graphs import periodic_edges_batch

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # elsewhere the peak of the parent may be counted in
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

n_side = int(sys.argv[1])
torch.manual_seed(0)
sites = torch.cartesian_prod(*[torch.arange(n_side, dtype=torch.float32)] * 3)
pos = (sites + torch.rand_like(sites) / 2) * 2.15
arguments = (torch.eye(3)[None] * n_side * 2.15, torch.tensor([True] * 3))
# Once small, so that what is loaded on first use does not count.
periodic_edges_batch(pos[:100], *arguments, torch.zeros(100, dtype=torch.int64), 5.0)
before = peak()
edges = periodic_edges_batch(pos, *arguments, torch.zeros(len(pos), dtype=torch.int64), 5.0)
print(peak() - before, sum(value.nbytes for value in edges), len(edges.src))
"""

    def measure(n_side):
        command = [sys.executable, "-c", code, str(n_side)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return map(int, done.stdout.split())

    peak, returned, num_edges = measure(27)
    assert num_edges > 9e5
    assert peak > returned
    # The result, the portions that it is joined from, the look-ups of a portion, and bins of atoms.
    assert peak < 3 * returned + 100e6
    small_peak, _, small_edges = measure(13)
    assert peak - small_peak < 3 * returned / num_edges * (num_edges - small_edges) + 50e6


def far(pos, row, value):
    changed = pos.clone()
    changed[row] = value
    return changed


POS, CELL, PBC, BATCH = skewed_pair()
FLAT = torch.stack([CELL[0], torch.ones(3, 3, dtype=torch.float64)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pos": far(POS, 2, torch.nan)},
            r"structure 1: atom 2 has 'pos' \[nan, nan, nan\], which is not fi",
        ),
        ({"pos": far(POS, 1, torch.inf)}, "structure 0: atom 1 has 'pos'"),
        ({"pos": far(POS, 3, 0.0)}, r"structure 1: atoms 2 and 3 are at the same position \[0.0, 0.0, 0.0\]"),
        (
            {"pos": far(POS, 1, POS[0] + 2 * CELL[0, 0] - CELL[0, 2])},
            "structure 0: atoms 0 and 1 are at the same",
        ),
        ({"pos": POS[:, :2]}, r"'pos' has shape \[4, 2\], expected \[N, 3\]"),
        ({"pos": POS.long()}, "'pos' has dtype torch.int64, expected floats"),
        ({"cell": CELL[0]}, r"'cell' has shape \[3, 3\], expected \[B, 3, 3\]"),
        ({"cell": CELL * torch.nan}, "structure 0: 'cell' .* not finite"),
        ({"cell": FLAT, "pbc": torch.ones(2, 3, dtype=torch.bool)}, "structure 1: 'cell' .* has no volume"),
        (
            {"pbc": torch.ones(2, 3, dtype=torch.bool)},
            r"structure 1: 'cell' .* has no volume in its periodic",
        ),
        (
            {"pbc": torch.ones(4, 3, dtype=torch.bool)},
            r"'pbc' has shape \[4, 3\], expected \[3\] or \[2, 3\]",
        ),
        ({"pbc": torch.ones(2, 3)}, "'pbc' has dtype torch.float32, expected booleans"),
        ({"batch": BATCH[:3]}, r"'batch' has shape \[3\], expected \[4\] for 4 atoms"),
        ({"batch": BATCH + 1}, "'batch' of atom 2 is 2, expected 0 to 1 for 2 cells"),
        ({"batch": BATCH - 1}, "'batch' of atom 0 is -1"),
        ({"batch": BATCH.double()}, "'batch' has dtype torch.float64, expected integers"),
        ({"batch": BATCH.to("meta")}, "'batch' is on meta, but 'pos' is on cpu"),
        ({"cutoff": 0.0}, "cutoff must be positive and finite, in angstrom, got 0.0"),
        ({"cutoff": float("nan")}, "positive and finite, in angstrom, got nan"),
        ({"cutoff": torch.tensor(3.0)}, "cutoff must be a number"),
        ({"cutoff": 5000.0}, "structure 0: atom 0 has about 6e[+]10 images .*. Decrease the cutoff"),
        ({"backend": "cuda"}, "backend must be one of 'auto', 'torch', 'nvalchemi', got 'cuda'"),
    ],
)
def test_bad_input_raises(change, message):
    arguments = {"pos": POS, "cell": CELL, "pbc": PBC, "batch": BATCH, "cutoff": 3.0}
    with pytest.raises(ValueError, match=message):
        periodic_edges_batch(**{**arguments, **change})
