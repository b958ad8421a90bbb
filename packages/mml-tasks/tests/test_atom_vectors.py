from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import GradFreeForceRegressionTask
from mml_tasks.tasks.atom_vectors import AtomVectorTask, at_least_single
from mml_tasks.tasks.vector_head import VectorHead
from mml_tasks.testing import ToyEncoder, random_structure, toy_batch, toy_graph


class TwoVectors(AtomVectorTask):
    """Task that learns any number of vectors of atoms."""

    def __init__(self, encoder: Any = None, **kwargs: Any) -> None:
        super().__init__(encoder, **kwargs)
        self.set_task_keys(self.hparams["task_keys"])


def make_task(**options: Any) -> TwoVectors:
    torch.manual_seed(0)
    return TwoVectors(ToyEncoder(), task_keys=["force", "spin"], **options)


def test_vectors_have_own_heads():
    task = make_task(vector_cutoff=3.0, output_kwargs={"hidden_dim": 5})
    assert list(task.output_heads) == ["force", "spin"]
    for head in task.output_heads.values():
        assert isinstance(head, VectorHead)
        assert head.cutoff == 3.0
        assert head.network.layers[0].out_features == 5
    outputs = task.predict(toy_batch([toy_graph(*random_structure(0, 3, torch.float32))]))
    assert outputs["force"].shape == outputs["spin"].shape == (3, 3)
    assert not torch.allclose(outputs["force"], outputs["spin"])


@given(
    seed=st.integers(0, 1000),
    axis=st.tuples(*[st.floats(-1, 1)] * 3),
    mirrored=st.booleans(),
    std=st.floats(0.1, 10),
)
def test_predictions_rotate_and_scale(seed, axis, mirrored, std):
    """Vectors follow rotations, which are exponentials of skew matrices, and improper rotations."""
    x, y, z = axis
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    turn = torch.linalg.matrix_exp(3 * skew) * (-1 if mirrored else 1)
    numbers, pos, cell = random_structure(seed, 3)
    plain, scaled = make_task().double(), make_task(normalize_kwargs={"spin_std": std}).double()
    first = plain.predict(toy_batch([toy_graph(numbers, pos, cell)]))
    turned = toy_batch([toy_graph(numbers, pos @ turn, cell @ turn)])
    for key in ("force", "spin"):
        expected = first[key] @ turn
        torch.testing.assert_close(plain.predict(turned)[key], expected)
        factor = std if key == "spin" else 1.0
        torch.testing.assert_close(scaled.predict(turned)[key], factor * expected)


def test_auto_uses_root_mean_square():
    task = make_task(normalize_kwargs="auto")
    statistics = {"force": {"rms": 2.0, "mean": 0.1, "std": 1.9}, "spin": {"rms": [3.0, 4.0, 0.0]}}
    scales = task.scale_rules(task.task_keys).of_data(statistics)
    assert scales["force"].std == 2.0
    assert scales["spin"].std == pytest.approx((25 / 3) ** 0.5)  # one scale: three would be directions
    assert scales["force"].mean is scales["spin"].mean is None


@pytest.mark.parametrize("mean", [0.5, [0.0, 0.0, -1e-3]])
def test_mean_of_vectors_is_refused(mean):
    with pytest.raises(
        ValueError, match=r"spin_mean must be zero, got .* a mean vector would define a direction"
    ):
        make_task(normalize_kwargs={"spin_mean": mean})
    make_task(normalize_kwargs={"spin_mean": [0.0, 0.0, 0.0], "spin_std": 2.0})


def test_scale_by_direction_is_refused():
    with pytest.raises(ValueError, match=r"spin_std must be the same in every direction, got \[1.0, 2.0"):
        make_task(normalize_kwargs={"spin_std": [1.0, 2.0, 1.0]})
    make_task(normalize_kwargs={"spin_std": [2.0, 2.0, 2.0]})


def test_checkpoint_has_vector_source(tmp_path, data, make_trainer):
    torch.manual_seed(0)
    task = GradFreeForceRegressionTask(encoder_class=ToyEncoder, vector_source="components")
    trainer = make_trainer()
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    again = GradFreeForceRegressionTask.load_from_checkpoint(tmp_path / "task.ckpt")
    assert again.vector_source == again.output_heads["force"].source == "components"


def test_half_precision_becomes_float32():
    for given_dtype, expected in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert at_least_single(torch.ones(2, dtype=given_dtype)).dtype == expected
