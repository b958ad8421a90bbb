"""What every transform does alike: pickle, paste, leave its input alone, work in the workers of a loader."""

import copy
import functools
import operator
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from mml_graphs import transforms
from mml_graphs.graph import PointCloudToGraphTransform
from mml_graphs.libraries.graph_libraries import library_of, take_apart
from mml_graphs.periodic import PeriodicPropertiesTransform
from mml_graphs.transforms import *  # noqa: F403
from mml_graphs.transforms import COMShift, FrameAveraging, NoisyPositions
from torch.utils.data import DataLoader

CALLS = [
    "AtomicSuperNodes(atom_max_embedding=100)",
    "COMShift(pos_key='pos', mass_key='atomic_numbers')",
    "COMShift(pos_key='pos', mass_key=None)",
    "CoordinateScaling(value=2.0, key='pos')",
    "DistancesTransform()",
    "FrameAveraging(frame_averaging='', fa_method='stochastic', seed=None, on_degenerate='warn')",
    "FrameAveraging(frame_averaging='2D', fa_method='det', seed=None, on_degenerate='warn')",
    "FrameAveraging(frame_averaging='3D', fa_method='all', seed=None, on_degenerate='raise')",
    "FrameAveraging(frame_averaging='3D', fa_method='se3-stochastic', seed=5, on_degenerate='allow')",
    "FrameAveraging(frame_averaging='DA', fa_method='stochastic', seed=5, on_degenerate='allow')",
    "GraphReordering(node_algo='rcmk', edge_algo='dst', nodes_perm=None, edges_perm=None)",
    "GraphReordering(node_algo='custom', edge_algo='src', nodes_perm=(3, 1, 0, 2), edges_perm=None)",
    "GraphSuperNodes(atom_max_embed_index=100)",
    "GraphVariablesTransform()",
    "NoisyPositions(scale=0.1, normalize=True, seed=0)",
    "RemoveTagZeroNodes(overwrite=True)",
    "RemoveTagZeroNodes(overwrite=False)",
    "ScaleRegressionTargets(value=2.0, values={'force': 3.0})",
    "UnitCellCalculator()",
]


def made(call):
    return eval(call)


def slab(library):
    sample = {
        "atomic_numbers": np.array([29, 29, 8, 1]),
        "pos": np.array([[0.1, 0, 0], [1.4, 1.2, 1.7], [0.3, 0, 4], [0.8, 0.4, 4.6]]),
        "cell": np.diag([2.6, 2.7, 15.0])[None],
        "pbc": np.array([True, True, False]),
        "lattice_params": [2.6, 2.7, 15.0, *[np.pi / 2] * 3],
        "tags": torch.tensor([0, 1, 2, 2]),
        "fixed": torch.tensor([1, 0, 0, 0]),
        "targets": {"energy": -3.0, "force": torch.arange(12.0).reshape(4, 3)},
        "target_types": {"regression": ["energy", "force"]},
        "sample_id": "slab",
    }
    sample = PeriodicPropertiesTransform(4.0)(sample)
    return PointCloudToGraphTransform(library, node_keys=["tags", "fixed", "force"])(sample)


def flat(sample):
    """Return everything that a sample, its targets and its graphs hold, by path, as comparable values."""
    values = {}
    for key, value in sample.items():
        if library_of(value):
            data = take_apart(value)
            ends = {"src": data.src, "dst": data.dst}
            parts = flat({**data.nodes, **data.edges, **data.whole, **ends, "library": library_of(value)})
            values |= {f"{key}.{name}": part for name, part in parts.items()}
        elif isinstance(value, dict):
            values |= {f"{key}.{name}": part for name, part in flat(value).items()}
        else:
            is_array = isinstance(value, (torch.Tensor, np.ndarray))
            values[key] = (str(value.dtype), value.tolist()) if is_array else value
    return values


def test_the_list_has_them_all():
    assert {call.partition("(")[0] for call in CALLS} == set(transforms.__all__)


@pytest.mark.parametrize("call", CALLS)
def test_transforms_are_pickled_and_pasted(library, call):
    transform, sample = made(call), slab(library)
    assert repr(transform) == call
    before = copy.deepcopy(flat(sample))
    expected = flat(transform(sample))
    assert flat(sample) == before
    for other in (pickle.loads(pickle.dumps(transform)), made(repr(transform)), transform):
        assert repr(other) == call
        assert flat(other(sample)) == expected
    assert list(expected)[: len(sample)][0] == next(iter(sample))


def loaded(made_transforms, library, start, **options):
    """Return what each transform makes of the slab in a worker; a spawned one cannot import this file."""
    calls = [functools.partial(transform, slab(library)) for transform in made_transforms]
    workers = {"num_workers": 2, "multiprocessing_context": start, "batch_size": None}
    return [flat(sample) for sample in DataLoader(calls, collate_fn=operator.call, **workers, **options)]


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_workers_of_a_loader(library, start):
    made_transforms = [made(call) for call in CALLS]
    for call, transform, result in zip(
        CALLS, made_transforms, loaded(made_transforms, library, start), strict=True
    ):
        assert result == flat(transform(slab(library))), call


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_workers_draw_reproducibly():
    without_seed = [NoisyPositions(), NoisyPositions(), FrameAveraging("DA"), FrameAveraging("DA")] * 2

    def epoch(seed):
        return loaded(without_seed, "pyg", "fork", generator=torch.Generator().manual_seed(seed))

    first, second = epoch(0), epoch(1)
    drawn = [str(sample.get("noisy_pos", sample["pos"])) for sample in first]
    assert len(set(drawn)) == len(drawn)
    assert first != second
    assert epoch(0) == first


def test_transforms_keep_random_state():
    torch.manual_seed(0)
    NoisyPositions()(slab("pyg"))
    after = torch.get_rng_state()
    torch.manual_seed(0)
    torch.randint(2**63 - 1, ())
    assert torch.equal(torch.get_rng_state(), after)
    COMShift()(slab("pyg"))
    FrameAveraging("3D", "all")(slab("pyg"))
    assert torch.equal(torch.get_rng_state(), after)


def test_transforms_are_cheap_to_import():
    code = (
        "import sys, mml_graphs;"
        "assert 'mml_graphs.transforms' not in sys.modules;"
        "import mml_graphs.transforms as t;"
        "assert all(getattr(mml_graphs, name) is getattr(t, name) for name in t.__all__);"
        "assert set(t.__all__) <= set(mml_graphs.__all__);"
        "costly = ('ase', 'dgl', 'pymatgen', 'scipy', 'torch_geometric', 'vesin');"
        "print([name for name in costly if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
