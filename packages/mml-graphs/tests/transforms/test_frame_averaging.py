import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mml_graphs.batches.collate import collate_samples
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import take_apart, unbatch
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.testing import crystals
from mml_graphs.transforms import FrameAveraging
from mml_graphs.transforms._frames import find_frames
from mml_samples import forget_notices
from scipy.spatial.transform import Rotation

laws = settings(max_examples=60)
DATA = Path(__file__).parents[4].parent / "shared" / "data"
METHODS = ["all", "det", "se3-all", "se3-det"]
CHIRAL = torch.tensor([[0.0, 0, 0], [1.1, 0, 0], [0, 1.7, 0], [0, 0, 2.9]], dtype=torch.float64)
CUBIC = {"atomic_numbers": [26], "pos": np.zeros((1, 3)), "cell": np.eye(3) * 2.8, "sample_id": "iron"}


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def orthogonal(seed, reflect, plane):
    """Return a rotation matrix (about z where the plane is kept), with a reflection or without."""
    generator = np.random.default_rng(seed)
    if plane:
        matrix = Rotation.from_rotvec([0, 0, generator.uniform(0, 7)]).as_matrix()
    else:
        matrix = Rotation.random(random_state=seed).as_matrix()
    return matrix @ np.diag([-1.0 if reflect else 1.0, 1, 1])


def anything(pos, cell, numbers):
    """Return a number and vectors [N, 3] that know no symmetry but the numbering of atoms."""
    wave = torch.tensor([0.7, -1.3, 0.4])
    of_atoms = torch.sin(pos @ wave + numbers * 0.3) + torch.tanh(pos[:, 0]) * pos[:, 2] ** 2
    of_cell = torch.cos(cell @ wave).sum()
    pairs = torch.sin((pos[:, None] - pos[None]) @ wave).abs().sum(dim=1)
    vectors = torch.stack([of_atoms + pairs, of_atoms**2 + of_cell, torch.cos(of_atoms) * pos[:, 1]], dim=1)
    return of_atoms.sum() * of_cell + pairs.sum(), vectors


def averages(sample, kind, method):
    """Return the average over frames of `anything`, scalars and vectors turned back."""
    framed = FrameAveraging(kind, method, on_degenerate="allow")(sample)
    numbers = torch.as_tensor(framed["atomic_numbers"])
    scalars, vectors = [], []
    for pos, rotation, cell in zip(
        framed["fa_pos"].unbind(1), framed["fa_rot"][0], framed["fa_cell"][0], strict=True
    ):
        scalar, vector = anything(pos, cell, numbers)
        scalars.append(scalar)
        vectors.append(vector @ rotation.T)
    return torch.stack(scalars).mean(), torch.stack(vectors).mean(dim=0)


def moved(sample, matrix, shift, order):
    return {
        "atomic_numbers": np.asarray(sample["atomic_numbers"])[order],
        "pos": (np.asarray(sample["pos"]) @ matrix.T + shift)[order],
        "cell": np.asarray(sample["cell"]) @ matrix.T,
    }


@st.composite
def clouds(draw, least=4):
    num_atoms = draw(st.integers(least, 7))
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    return {
        "atomic_numbers": generator.integers(1, 90, num_atoms),
        "pos": generator.normal(size=(num_atoms, 3)) * [3, 2, 1],
        "cell": generator.normal(size=(1, 3, 3)) + np.eye(3) * 6,
    }


@given(cloud=clouds(), seed=st.integers(0, 10**6), reflect=st.booleans(), data=st.data())
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["2D", "3D"])
@laws
def test_averages_are_invariant_and_equivariant(kind, method, cloud, seed, reflect, data):
    assume(not (reflect and method.startswith("se3")))
    plane = kind == "2D"
    frames = find_frames(cloud["pos"], cloud["atomic_numbers"], cloud["cell"][0], plane, proper=False)
    assume(not frames.degenerate)
    matrix = orthogonal(seed, reflect, plane)
    order = np.array(data.draw(st.permutations(range(len(cloud["pos"])))))
    shift = np.array([3.0, -7.0, 0.0 if plane else 2.0])
    scalar, vectors = averages(cloud, kind, method)
    same, turned = averages(moved(cloud, matrix, shift, order), kind, method)
    torch.testing.assert_close(same, scalar, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(turned, (vectors @ torch.tensor(matrix.T))[order], rtol=1e-7, atol=1e-7)


def test_se3_frames_distinguish_mirror_images():
    sample = {"atomic_numbers": [6, 1, 9, 17], "pos": CHIRAL, "cell": np.eye(3)[None] * 9}
    image = {**sample, "pos": CHIRAL * torch.tensor([-1.0, 1, 1])}
    assert not torch.isclose(averages(sample, "3D", "se3-all")[0], averages(image, "3D", "se3-all")[0])
    torch.testing.assert_close(averages(sample, "3D", "all")[0], averages(image, "3D", "all")[0])


DEGENERATE = {
    "one atom in a cubic cell": ([26], [[0, 0, 0]], np.eye(3) * 2.8),
    "one atom in a skewed cell": ([26], [[0, 0, 0]], [[2, 0, 0], [0.3, 3, 0], [0.5, 0.7, 4]]),
    "linear": ([8, 6, 8], [[-1.2, 0, 0], [0, 0, 0], [1.2, 0, 0]], np.zeros((3, 3))),
    "two atoms in a cell": (
        [11, 17],
        [[0, 0, 0], [2.8, 0, 0]],
        [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]],
    ),
    "square": ([1] * 4, [[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], np.zeros((3, 3))),
    "square of two elements": (
        [1, 2, 1, 2],
        [[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]],
        np.zeros((3, 3)),
    ),
    "tetrahedron": ([1] * 4, [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.eye(3) * 5),
    "tetrahedron of four elements": (
        [1, 6, 7, 8],
        [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]],
        np.eye(3) * 5,
    ),
    "octahedron around an atom": (
        [16, *[9] * 6],
        [[0, 0, 0], [1.5, 0, 0], [-1.5, 0, 0], [0, 1.5, 0], [0, -1.5, 0], [0, 0, 1.5], [0, 0, -1.5]],
        np.zeros((3, 3)),
    ),
    "cubic atoms in a cell that is not": ([5, 5], [[0, 0, 0], [0, 0, 2]], [[3, 0, 0], [1, 4, 0], [0, 0, 5]]),
    # Two triangles of a prism, one turned by 60 degrees and of another element: isotropic in the plane by a
    # three-fold axis only.
    "trigonal": (
        [13] * 3 + [31] * 3,
        [[np.cos(a), np.sin(a), 0] for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
        + [[0.9 * np.cos(a), 0.9 * np.sin(a), 2] for a in (0.4, 0.4 + 2 * np.pi / 3, 0.4 + 4 * np.pi / 3)],
        np.zeros((3, 3)),
    ),
}


@given(seed=st.integers(0, 10**6), reflect=st.booleans(), data=st.data())
@pytest.mark.parametrize("name", list(DEGENERATE))
@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20)
def test_averages_with_equal_moments_are_invariant(name, method, seed, reflect, data):
    assume(not (reflect and method.startswith("se3")))
    numbers, pos, cell = DEGENERATE[name]
    sample = {"atomic_numbers": numbers, "pos": np.array(pos, float), "cell": np.array(cell)[None]}
    sample["pbc"] = np.array([bool(np.any(cell))] * 3)
    frames = find_frames(sample["pos"], np.array(numbers), sample["cell"][0], False, proper=False)
    assert frames.degenerate
    order = np.array(data.draw(st.permutations(range(len(pos)))))
    there = moved(sample, orthogonal(seed, reflect, False), [1.0, 2, 3], order) | {"pbc": sample["pbc"]}
    torch.testing.assert_close(averages(there, "3D", method)[0], averages(sample, "3D", method)[0])


@pytest.mark.skipif(
    not DATA.is_dir(), reason="the real structures (../shared/data) are not beside this checkout"
)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["materials_project", "lips"])
def test_averages_of_real_structures_are_invariant(name, method):
    """Half of the crystals have equal principal moments."""
    lines = (DATA / f"{name}.jsonl").read_text().splitlines()[::4]
    for seed, line in enumerate(lines):
        record = json.loads(line)
        sample = {
            "atomic_numbers": record["atomic_numbers"],
            "pos": record["positions"],
            "cell": record["cell"],
        }
        order = np.random.default_rng(seed).permutation(len(sample["pos"]))
        matrix = orthogonal(seed, not method.startswith("se3"), False)
        there = moved(sample, matrix, [3.0, -2, 1], order)
        torch.testing.assert_close(averages(there, "3D", method)[0], averages(sample, "3D", method)[0])


@pytest.mark.parametrize("name", ["trigonal", "tetrahedron of four elements", "octahedron around an atom"])
def test_float32_noise_keeps_frames(name):
    numbers, pos, cell = DEGENERATE[name]
    sample = {"atomic_numbers": np.array(numbers), "pos": np.array(pos, float), "cell": np.array(cell)[None]}
    sample["pbc"] = np.array([bool(np.any(cell))] * 3)
    expected = averages(sample, "3D", "all")[0]
    for seed in range(20):
        turned = moved(sample, orthogonal(seed, True, False), [9.0, 0, 0], np.arange(len(pos)))
        turned |= {"pos": turned["pos"].astype(np.float32), "pbc": sample["pbc"]}
        torch.testing.assert_close(averages(turned, "3D", "all")[0], expected, rtol=1e-4, atol=1e-4)


def test_equal_moments_without_symmetry_keep_vectors():
    numbers, pos, cell = DEGENERATE["tetrahedron of four elements"]
    sample = {"atomic_numbers": np.array(numbers), "pos": np.array(pos, float), "cell": cell[None]}
    matrix, order = orthogonal(5, True, False), np.array([2, 0, 3, 1])
    turned = averages(moved(sample, matrix, [0.0, 0, 0], order), "3D", "all")[1]
    expected = averages(sample, "3D", "all")[1] @ torch.tensor(matrix.T)
    torch.testing.assert_close(turned, expected[order])


@given(crystal=crystals(), kind=st.sampled_from(["2D", "3D"]), method=st.sampled_from(METHODS))
@laws
def test_frames_turn_cells_with_positions(crystal, kind, method):
    sample = PeriodicPropertiesTransform(4.0, on_isolated="allow")(crystal.sample())
    framed = FrameAveraging(kind, method, on_degenerate="allow")(sample)
    num_frames = 1 if "det" in method else (4 if kind == "2D" else 8) // (2 if "se3" in method else 1)
    rotations = framed["fa_rot"][0]
    assert framed["fa_pos"].shape == (len(crystal.positions), num_frames, 3)
    assert rotations.shape == framed["fa_cell"][0].shape == (num_frames, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand_as(rotations))
    if "se3" in method:
        assert (torch.linalg.det(rotations) > 0).all()
    if kind == "2D":
        assert torch.equal(framed["fa_pos"][:, 0, 2], sample["pos"][:, 2])
        assert torch.equal(rotations[:, 2], torch.eye(3)[2].expand(num_frames, 3))
    assert len({tuple(rotation.flatten().tolist()) for rotation in rotations}) == num_frames
    src, dst = sample["src_nodes"], sample["dst_nodes"]
    for pos, cell in zip(framed["fa_pos"].unbind(1), framed["fa_cell"][0], strict=True):
        vectors = pos[dst] + sample["images"] @ cell - pos[src]
        torch.testing.assert_close(vectors.norm(dim=1), sample["distances"])


@pytest.mark.parametrize("method", ["stochastic", "se3-stochastic"])
@pytest.mark.parametrize("name", ["tetrahedron", "trigonal"])
def test_stochastic_draws_frames_uniformly(name, method):
    numbers, pos, cell = DEGENERATE[name]
    sample = {"atomic_numbers": numbers, "pos": np.array(pos, float), "cell": cell}
    sample["pbc"] = np.array([bool(np.any(cell))] * 3)
    tied = find_frames(sample["pos"], np.array(numbers), np.array(cell), False, method != "stochastic").tied
    torch.manual_seed(3)
    transform = FrameAveraging("3D", method, on_degenerate="allow")
    drawn = torch.cat([transform(sample)["fa_rot"][0] for _ in range(40 * len(tied))])
    nearest = torch.cdist(drawn.flatten(1), torch.tensor(tied).flatten(1)).argmin(dim=1)
    counts = nearest.bincount(minlength=len(tied))
    assert counts.min() > 12
    assert counts.max() < 85


@pytest.mark.parametrize("fa_method", ["", None])
def test_older_arguments_are_accepted(fa_method):
    sample = {"atomic_numbers": [6, 1, 9, 17], "pos": CHIRAL}
    assert FrameAveraging("3D", fa_method).fa_method == "stochastic"
    assert FrameAveraging()(sample) == sample
    framed = FrameAveraging("3D", fa_method)(sample)
    assert framed.keys() - sample.keys() == {"fa_pos", "fa_rot"}
    assert framed["fa_pos"].shape == (4, 1, 3)


def test_graph_contains_frames(library):
    sample = PointCloudToGraphTransform(library, 9.0)({"atomic_numbers": [6, 1, 9, 17], "pos": CHIRAL})
    data = take_apart(FrameAveraging("3D", "all")(sample)["graph"])
    alone = FrameAveraging("3D", "all")({"atomic_numbers": [6, 1, 9, 17], "pos": CHIRAL})
    torch.testing.assert_close(data.nodes["fa_pos"], alone["fa_pos"])
    torch.testing.assert_close(data.whole["fa_rot"], alone["fa_rot"])
    assert not data.whole["fa_cell"].any()
    assert "fa_pos" not in take_apart(sample["graph"]).nodes


def test_batches_join_frames(library):
    def framed(num_atoms):
        sample = {"atomic_numbers": [6, 1, 9, 17][:num_atoms], "pos": CHIRAL[:num_atoms]}
        sample = FrameAveraging("3D", "se3-all")(PointCloudToGraphTransform(library, 9.0)(sample))
        return sample, take_apart(sample["graph"])

    (first, one), (second, other) = framed(4), framed(3)
    parts = [take_apart(graph) for graph in unbatch(collate_samples([first, second])["graph"])]
    for part, alone in zip(parts, (one, other), strict=True):
        assert torch.equal(part.nodes["fa_pos"], alone.nodes["fa_pos"])
        assert torch.equal(part.whole["fa_rot"], alone.whole["fa_rot"])
        assert part.whole["fa_rot"].shape == (1, 4, 3, 3)
    clouds = [FrameAveraging("3D")({"atomic_numbers": [6, 1], "pos": CHIRAL[1:3]}) for _ in range(2)]
    assert collate_samples(clouds)["fa_rot"].shape == (2, 1, 3, 3)


def test_augmentation_turns_whole_sample(library, edge_vectors):
    force, stress = torch.randn(4, 3), torch.randn(3, 3)
    stress = stress + stress.T
    sample = {
        "atomic_numbers": [6, 1, 9, 17],
        "pos": CHIRAL,
        "cell": torch.eye(3)[None] * 4 + 0.1,
        "targets": {"force": force, "energy": 1.5, "stress": stress},
    }
    sample = PeriodicPropertiesTransform(4.0)(sample)
    sample = PointCloudToGraphTransform(library, node_keys=["force"])(sample)
    turned = FrameAveraging("DA", seed=1)(sample)
    rotation = torch.linalg.lstsq(sample["cell"][0], turned["cell"][0]).solution
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3))
    assert torch.linalg.det(rotation) > 0
    assert not torch.allclose(rotation, torch.eye(3), atol=0.1)
    torch.testing.assert_close(turned["targets"]["force"], force @ rotation)
    torch.testing.assert_close(turned["targets"]["stress"], rotation.T @ stress @ rotation)
    assert turned["targets"]["energy"] == 1.5
    parts = (take_apart(sample["graph"]), take_apart(turned["graph"]))
    before, after = ({**data.nodes, **data.edges, **data.whole} for data in parts)
    for key in ("pos", "offsets", "force", "cell"):
        torch.testing.assert_close(after[key], before[key] @ rotation)
    torch.testing.assert_close(edge_vectors(turned), edge_vectors(sample) @ rotation)
    rows, columns = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    voigt = FrameAveraging("DA", seed=1)(sample | {"targets": {"stress": stress[rows, columns]}})["targets"]
    torch.testing.assert_close(voigt["stress"], turned["targets"]["stress"][rows, columns])


def test_equal_moments_are_reported(caplog):
    forget_notices()
    with caplog.at_level(logging.WARNING, "mml_graphs"):
        FrameAveraging("3D", "all")(CUBIC)
    assert "sample 'iron': principal moments of the positions are equal" in caplog.text
    with pytest.raises(ValueError, match=r"^sample 'iron': principal moments .* Pass on_degenerate='allow'"):
        FrameAveraging("3D", "all", on_degenerate="raise")(CUBIC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("4D",), "frame_averaging must be one of '', '2D', '3D', 'DA', got '4D'"),
        (("3D", "some"), "fa_method must be one of 'stochastic', 'all'"),
        (("3D", "all", -1), "seed must be None or a non-negative integer, got -1"),
        (
            ("3D", "all", None, "ignore"),
            "on_degenerate must be one of 'warn', 'raise', 'allow', got 'ignore'",
        ),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        FrameAveraging(*arguments)


@pytest.mark.parametrize("kind", ["3D", "DA"])
@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"atomic_numbers": [1]}, "neither 'pos' nor 'frac_coords' nor 'structure'|'pos' is missing"),
        (
            {"atomic_numbers": [1], "pos": [[0, 0, np.nan]]},
            "'pos' (contains values that are|of atom 0 is) not finite",
        ),
        ({"pos": CHIRAL, "graph": 3, "atomic_numbers": [1] * 4}, "'graph' is of type int, expected a"),
    ],
)
def test_bad_samples_raise(kind, sample, message):
    with pytest.raises(ValueError, match=f"^sample 'x': .*({message})"):
        FrameAveraging(kind, "all")(sample | {"sample_id": "x"})
