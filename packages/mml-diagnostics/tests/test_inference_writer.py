"""Predictions round-trip through files without pickles."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics import InferenceWriter
from mml_diagnostics.observers.inference_writer import join_predictions


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.sampled_from([torch.float32, torch.float64, torch.int64]),
)
def test_joined_batches_are_concatenated(sizes, dtype):
    whole = torch.arange(3 * sum(sizes)).reshape(-1, 3).to(dtype)
    parts = [{"outer": {"x": part}} for part in whole.split(sizes)]
    joined = join_predictions(parts)
    assert list(joined) == ["outer/x"]
    assert np.array_equal(joined["outer/x"], whole.numpy())
    assert joined["outer/x"].dtype == whole.numpy().dtype


@pytest.mark.parametrize("loaders", [1, 2])
def test_predictions_round_trip(loaders, samples, make_loader, make_task, task_class, make_trainer, tmp_path):
    class Predicts(task_class):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return {
                "energy": self.embed(batch)[:, :1],
                "atoms": batch["pos"],
                "sample_id": batch["sample_id"],
            }

    loader = make_loader(samples[:12])
    trainer = make_trainer(InferenceWriter(tmp_path / "out"))
    predictions = trainer.predict(make_task(Predicts), [loader] * loaders if loaders > 1 else loader)
    names = (
        ["results_rank0.npz"] if loaders == 1 else ["results_rank0_loader0.npz", "results_rank0_loader1.npz"]
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for name, part in zip(names, [predictions] if loaders == 1 else predictions, strict=True):
        read = np.load(tmp_path / "out" / name, allow_pickle=False)
        assert set(read) == {"energy", "atoms", "sample_id"}
        assert np.array_equal(read["energy"], torch.cat([p["energy"] for p in part]).numpy())
        assert np.array_equal(read["atoms"], torch.cat([s["pos"] for s in samples[:12]]).numpy())
        assert read["sample_id"].tolist() == [s["sample_id"] for s in samples[:12]]


def test_mismatched_batches_are_rejected():
    with pytest.raises(ValueError, match="Batch 1 does not have the same keys as batch 0: b"):
        join_predictions([{"a": torch.ones(1)}, {"a": torch.ones(1), "b": torch.ones(1)}])
    with pytest.raises(ValueError, match="Predictions of a have different shapes"):
        join_predictions([{"a": torch.ones(1, 2)}, {"a": torch.ones(1, 3)}])
    with pytest.raises(
        TypeError, match="a must be a tensor, number, string or a mapping of these, got object"
    ):
        join_predictions([{"a": object()}])


def test_join_handles_special_values():
    assert join_predictions([]) == {}
    assert join_predictions([torch.ones(2), torch.zeros(1)])["prediction"].tolist() == [1, 1, 0]
    assert join_predictions([{"a": 1.5}, {"a": 2.5}])["a"].tolist() == [1.5, 2.5]
    assert join_predictions([{"a": torch.ones(1, dtype=torch.bfloat16)}])["a"].dtype == np.float32
