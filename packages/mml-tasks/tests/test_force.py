import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mml_tasks import ForceRegressionTask
from mml_tasks.tasks.force import has_periodic_volume
from mml_tasks.testing import ToyEncoder, random_structure, toy_batch, toy_graph

NORMALIZE = {"energy_per_atom_mean": -3.0, "energy_per_atom_std": 1.7}


def make_task(seed: int = 0, **kwargs: Any) -> ForceRegressionTask:
    """Return a task in float64 with energies of the order of eV."""
    torch.manual_seed(seed)
    options = {"normalize_kwargs": NORMALIZE, "output_kwargs": {"last_layer_scale": 3.0}} | kwargs
    return ForceRegressionTask(ToyEncoder(), **options).double()


def energies(task: ForceRegressionTask, structures: list[Any]) -> torch.Tensor:
    return task(toy_batch([toy_graph(*structure) for structure in structures]))["energy"].detach()


def three_structures(seed: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    return [random_structure(seed + index, atoms) for index, atoms in enumerate((3, 1, 5))]


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), step=st.integers(0, 26))
def test_forces_equal_finite_differences(seed, step):
    """The cells are periodic and oblique. Neighbors are searched again for every displacement."""
    task, structures, h = make_task(seed, task_keys=["energy", "force"]), three_structures(seed), 1e-5
    forces = task(toy_batch([toy_graph(*structure) for structure in structures]))["force"].detach()
    row, axis = divmod(step, 3)
    which, atom = next(
        (w, row - start) for w, start, size in ((0, 0, 3), (1, 3, 1), (2, 4, 5)) if row < start + size
    )
    moved = []
    for sign in (1, -1):
        displaced = [tuple(part.clone() for part in structure) for structure in structures]
        displaced[which][1][atom, axis] += sign * h
        moved.append(energies(task, displaced).sum())
    torch.testing.assert_close(forces[row, axis], -(moved[0] - moved[1]) / (2 * h), rtol=1e-5, atol=1e-7)
    assert forces.abs().max() > 1e-3


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), i=st.integers(0, 2), j=st.integers(0, 2))
def test_stress_equals_strain_derivative(seed, i, j):
    """The stress dE/dstrain / V is positive if the energy grows when the crystal is stretched."""
    task, structures, h = make_task(seed, compute_stress=True), three_structures(seed), 1e-5
    stress = task(toy_batch([toy_graph(*structure) for structure in structures]))["stress"].detach()
    strain = torch.zeros(3, 3, dtype=torch.float64)
    strain[i, j] += h / 2
    strain[j, i] += h / 2
    strained = []
    for sign in (1, -1):
        deformation = torch.eye(3, dtype=torch.float64) + sign * strain
        strained.append(energies(task, [(n, p @ deformation, c @ deformation) for n, p, c in structures]))
    volumes = torch.stack([torch.linalg.det(cell).abs() for _, _, cell in structures]).view(-1, 1)
    expected = (strained[0] - strained[1]) / (2 * h) / volumes
    torch.testing.assert_close(stress[:, i, j].view(-1, 1), expected, rtol=1e-5, atol=1e-7)
    assert stress.shape == (3, 3, 3)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_supercell_doubles_energy_only(seed):
    task = make_task(seed, compute_stress=True)
    numbers, pos, cell = random_structure(seed)
    double = torch.diag(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)) @ cell
    supercell = (numbers.repeat(2), torch.cat([pos, pos + cell[0]]), double)
    small, large = (
        task(toy_batch([toy_graph(*structure)])) for structure in ((numbers, pos, cell), supercell)
    )
    torch.testing.assert_close(large["energy"], 2 * small["energy"])
    torch.testing.assert_close(large["force"], small["force"].repeat(2, 1))
    torch.testing.assert_close(large["stress"], small["stress"])


def test_batched_structures_are_independent():
    task, structures = make_task(compute_stress=True), three_structures(5)
    together = task(toy_batch([toy_graph(*structure) for structure in structures]))
    alone = [task(toy_batch([toy_graph(*structure)])) for structure in structures]
    for key, value in together.items():
        torch.testing.assert_close(value, torch.cat([outputs[key] for outputs in alone]))


def test_scale_and_shift_apply_to_outputs(batch):
    plain, scaled = make_task(normalize_kwargs=None), make_task()
    a, b, natoms = plain(batch), scaled(batch), batch["graph"].natoms.view(-1, 1)
    torch.testing.assert_close(b["energy"], 1.7 * a["energy"] - 3.0 * natoms, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(b["force"], 1.7 * a["force"], rtol=1e-6, atol=1e-6)


def test_stress_is_independent_of_loss_units(batch):
    a = make_task(compute_stress=True)
    b = make_task(compute_stress=True, normalize_kwargs=NORMALIZE | {"stress_std": 0.01})
    torch.testing.assert_close(a(batch)["stress"], b(batch)["stress"])
    key = "stress"
    torch.testing.assert_close(
        b.normalized_outputs(batch)[key], a.normalized_outputs(batch)[key] * 100, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_forces_exist_without_gradients(mode, batch):
    task = make_task(compute_stress=True)
    expected = {key: value.detach() for key, value in task(batch).items()}
    with mode():
        made_inside = toy_batch([toy_graph(*structure) for structure in three_structures(1)])
        outputs = task(batch)
        inside = task(made_inside)
    outside = task(toy_batch([toy_graph(*structure) for structure in three_structures(1)]))
    for key, value in expected.items():
        assert not outputs[key].requires_grad
        torch.testing.assert_close(outputs[key], value)
        torch.testing.assert_close(inside[key], outside[key].detach())


def test_force_loss_reaches_weights(batch):
    task = make_task(task_keys=["force"])
    task.training_step(batch, 0).backward()
    assert task.encoder.filter.weight.grad.abs().sum() > 0


def test_batch_is_not_changed(batch):
    before = {name: value.clone() for name, value in vars(batch["graph"]).items()}
    tensors = dict(vars(batch["graph"]))
    make_task(compute_stress=True).training_step(batch, 0)
    assert set(batch) == {"graph", "sample_id", "targets"}
    for name, value in vars(batch["graph"]).items():
        assert value is tensors[name]
        assert not value.requires_grad
        assert torch.equal(value, before[name])


def test_pyg_graph_gives_equal_outputs(batch):
    data = pytest.importorskip("torch_geometric.data")
    graphs = [toy_graph(*structure) for structure in three_structures(3)]
    pyg = data.Batch.from_data_list(
        [
            data.Data(**{k: v for k, v in vars(graph).items() if k != "batch"}, num_nodes=len(graph.pos))
            for graph in graphs
        ]
    )
    task = make_task(compute_stress=True)
    with torch.inference_mode():
        ours, theirs = task(toy_batch(graphs)), task({"graph": pyg})
        inside = task({"graph": copy.copy(pyg).apply(torch.clone)})
    for key, value in ours.items():
        torch.testing.assert_close(theirs[key], value)
        torch.testing.assert_close(inside[key], value)
    assert not pyg.pos.requires_grad


def test_half_precision_sums_in_float32(batch):
    task = ForceRegressionTask(ToyEncoder())
    for name, value in vars(batch["graph"]).items():
        if value.is_floating_point():
            setattr(batch["graph"], name, value.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = task.normalized_outputs(batch)
    assert outputs["energy"].dtype == outputs["force"].dtype == torch.float32


def test_targets_default_to_outputs():
    assert make_task().task_keys == ["energy", "force"]
    assert make_task(compute_stress=True).task_keys == ["energy", "force", "stress"]
    assert list(make_task().output_heads) == ["energy"]


def test_forces_are_computed_on_request(batch, monkeypatch):
    task = make_task(task_keys=["energy"])
    assert set(task.predict(batch)) >= {"energy", "force"}
    result = task.validation_step(batch, 0)
    assert set(result["predictions"]) == set(result["targets"]) == {"energy"}
    expected = make_task(task_keys=["energy", "force"], task_loss_scaling={"force": 0.0})
    expected.load_state_dict(task.state_dict(), strict=False)
    torch.testing.assert_close(task.training_step(batch, 0), expected.training_step(batch, 0))
    monkeypatch.setattr(torch.autograd, "grad", None)
    task.training_step(batch, 0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["stress"], "cannot learn 'stress', expected one of .* Set compute_stress=True"),
        (["energy", "band_gap"], "cannot learn 'band_gap', expected one of"),
        ([], "at least one target"),
    ],
)
def test_other_targets_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        make_task(task_keys=keys)


@pytest.mark.parametrize("name", ["energy_std", "energy_per_atom_std", "force_std"])
def test_scale_applies_to_energy_or_forces(name):
    task = make_task(normalize_kwargs={"energy_per_atom_mean": -1.0, name: 2.5})
    assert task.normalizers["energy"].std.item() == task.normalizers["force"].std.item() == 2.5


def test_contradicting_scales_are_refused():
    with pytest.raises(ValueError, match=r"energy_std=2.0 and force_std=3.0 differ"):
        make_task(normalize_kwargs={"energy_std": 2.0, "force_std": 3.0})
    with pytest.raises(ValueError, match="force_mean must be zero"):
        make_task(normalize_kwargs={"force_mean": 0.1})


def test_auto_uses_force_rms_and_energy_mean():
    task = make_task(normalize_kwargs="auto", compute_stress=True)
    statistics: dict[str, Any] = {
        "energy": {"mean": -30.0, "std": 9.0, "per_atom_mean": -3.0, "per_atom_std": 0.2},
        "force": {"rms": 0.7},
        "stress": {"rms": 0.02},
    }
    task.normalizers.set_scales(task.scale_rules(()).of_data(statistics))
    energy, force, stress = (task.normalizers[key] for key in ("energy", "force", "stress"))
    numbers = [energy.mean.item(), energy.std.item(), force.std.item(), stress.std.item()]
    assert numbers == pytest.approx([-3.0, 0.7, 0.7, 0.02])
    assert energy.per_atom
    del statistics["force"], statistics["stress"]
    task.normalizers.set_scales(task.scale_rules(()).of_data(statistics))
    assert task.normalizers["energy"].std.item() == pytest.approx(0.2)


def with_graph(batch: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return batch | {"graph": SimpleNamespace(**(vars(batch["graph"]) | changes))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos": None}, "the graph of the batch has no 'pos', which forces are derivatives"),
        (
            {"pos": torch.ones(15, 3, dtype=torch.int64)},
            "must have a floating-point dtype, got torch.int64",
        ),
        ({"cell": None}, "no 'cell', which the stress requires"),
        ({"offsets": None}, "no 'offsets', which the stress requires"),
    ],
)
def test_incomplete_graphs_are_refused(batch, changes, message):
    with pytest.raises(ValueError, match=message):
        make_task(compute_stress=True)(with_graph(batch, **changes))


def test_stress_label_without_volume_names_sample(make_trainer, data):
    data.samples[2][0].cell[0, 2] = data.samples[2][0].cell[0, 1]
    with pytest.raises(
        ValueError,
        match=r"sample 'toy/000002' has a label of the stress, but no stress, because .* Set the label",
    ):
        make_trainer().fit(ForceRegressionTask(ToyEncoder(), compute_stress=True), data)


@pytest.mark.parametrize("loss", ["MSELoss", "L1Loss", "HuberLoss", "L2NormLoss"])
def test_structures_without_volume_have_no_stress(batch, loss):
    """Their stress is NaN, and the loss and its gradient are those of the other structures."""
    torch.manual_seed(0)
    task = ForceRegressionTask(ToyEncoder(), compute_stress=True, loss_func=loss).double()
    batch["graph"].pbc = torch.ones(5, 3, dtype=torch.bool)
    whole = task(batch)
    found = []
    for pbc in (True, False):
        task.zero_grad()
        batch["targets"]["stress"][3] = torch.nan
        batch["graph"].pbc[3] = pbc
        batch["graph"].cell[3, 2] = torch.where(torch.tensor(pbc), batch["graph"].cell[3, 2], 0.0)
        task.training_step(batch, 0).backward()
        found.append([parameter.grad.clone() for parameter in task.parameters()])
    outputs = task(batch)
    assert outputs["stress"][3].isnan().all()
    others = [0, 1, 2, 4]
    torch.testing.assert_close(outputs["stress"][others], whole["stress"][others])
    torch.testing.assert_close(outputs["force"], whole["force"])
    for with_volume, without in zip(*found, strict=True):
        torch.testing.assert_close(without, with_volume)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(20))
def test_nearly_flat_cells_have_no_volume(batch, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    cell = 5 * torch.randn(5, 3, 3, generator=generator, dtype=torch.float64)
    batch["graph"].cell = cell.to(dtype)
    assert has_periodic_volume(batch["graph"]).all()  # skewed as they come, but with a volume
    cell[3, 2] = 0.3 * cell[3, 0] - 1.7 * cell[3, 1]
    batch["graph"].cell = cell.to(dtype)
    assert has_periodic_volume(batch["graph"]).tolist() == [True, True, True, False, True]


class Blind(ToyEncoder):
    """Encoder that reads elements only."""

    def forward(self, batch):
        points = self.elements(batch["graph"].atomic_numbers)
        return SimpleNamespace(point_embedding=points, system_embedding=None)


def test_encoder_without_positions_is_refused(batch):
    with pytest.raises(ValueError, match="energy does not depend on 'pos' of the graph"):
        ForceRegressionTask(Blind()).double()(batch)
    with pytest.raises(ValueError, match="energy does not depend on 'pos' of the graph"):
        ForceRegressionTask(Blind()).double().requires_grad_(False)(batch)


def test_isolated_structure_has_no_forces():
    numbers, pos = torch.tensor([3]), torch.zeros(1, 3, dtype=torch.float64)
    lonely = toy_graph(numbers, pos, 20 * torch.eye(3, dtype=torch.float64))
    outputs = make_task(compute_stress=True)(toy_batch([lonely]))
    assert lonely.edge_index.shape == (2, 0)
    assert torch.equal(outputs["force"], torch.zeros(1, 3, dtype=torch.float64))
    assert torch.equal(outputs["stress"], torch.zeros(1, 3, 3, dtype=torch.float64))


class Stored(ToyEncoder):
    """Encoder that reads stored distances instead of positions."""

    def forward(self, batch):
        graph = batch["graph"]
        points = torch.zeros(len(graph.pos), self.output_dim, dtype=graph.pos.dtype)
        radial = self.filter(graph.distances.view(-1, 1).expand(-1, 8))
        points = points.index_add(0, graph.edge_index[0], radial)
        return SimpleNamespace(point_embedding=points, system_embedding=None)


def test_stored_distances_are_refused(batch):
    graph = batch["graph"]
    source, target = graph.edge_index
    graph.distances = (graph.pos[target] + graph.offsets - graph.pos[source]).norm(dim=1)
    with pytest.raises(ValueError, match="instead of reading stored distances"):
        ForceRegressionTask(Stored()).double().training_step(batch, 0)


def test_tracked_positions_give_equal_forces(batch):
    task = make_task()
    expected = task(batch)["force"].detach()
    tracked = batch["graph"].pos.clone().requires_grad_() * 1.0
    for pos in (batch["graph"].pos.detach(), tracked):
        torch.testing.assert_close(task(with_graph(batch, pos=pos))["force"].detach(), expected)


@pytest.mark.parametrize(
    "numbers",
    [
        NORMALIZE,
        {"energy_mean": -40.0, "energy_std": 2.0},
        {"energy_reference": {z: -0.1 * z for z in range(1, 91)}, "force_std": 0.5},
        None,
    ],
)
def test_node_energies_sum_to_energy(batch, numbers):
    task = make_task(normalize_kwargs=numbers)
    nodes, index = task.node_energies(batch), batch["graph"].batch
    assert nodes.shape == (16, 1)
    sums = torch.zeros(5, 1, dtype=torch.float64).index_add(0, index, nodes)
    torch.testing.assert_close(sums, task(batch)["energy"])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"force_std": [1.0, 1.0, 2.0]}, r"force_std must be one number, got \[1.0, 1.0, 2.0\]"),
        ({"force_mean": [0.0, 0.0, 0.1]}, "force_mean must be zero"),
        ({"stress_mean": [[0.1] * 3] * 3}, "stress_mean must be zero"),
        ({"energy_std": [1.0, 2.0]}, "energy_std must be a number"),
        (
            {"energy_reference": {"Al": -3.0}, "energy_per_atom_mean": 1.0},
            "both a mean and reference energies",
        ),
    ],
)
def test_scales_by_component_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        make_task(normalize_kwargs=numbers, compute_stress=True)


def test_zero_force_mean_is_accepted():
    make_task(normalize_kwargs={"force_mean": [0.0, 0.0, 0.0], "force_std": 2.0})
