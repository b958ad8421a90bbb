from types import SimpleNamespace

import pytest
import torch
from mml_tasks import NodeDenoisingTask
from mml_tasks.testing import ToyEncoder, random_structure, toy_batch, toy_graph


def noisy_batch(count=8, scale=0.05, where="graph", dtype=torch.float32):
    """Crystals with noisy positions, as the transform NoisyPositions adds them."""
    graphs, noise = [], []
    generator = torch.Generator().manual_seed(0)
    for seed in range(count):
        graphs.append(toy_graph(*random_structure(seed % 2, 3, dtype)))
        drawn = scale * torch.randn(3, 3, generator=generator).to(dtype)
        noise.append(drawn - drawn.mean(0))  # nothing tells how far all atoms together have moved
    batch = toy_batch(graphs, {"denoise": torch.cat(noise)})
    noisy = batch["graph"].pos + batch["targets"]["denoise"]
    if where == "graph":
        batch["graph"].noisy_pos = noisy
    elif where == "batch":
        batch["noisy_pos"] = noisy
    else:
        batch["graph"].pos = noisy
    return batch


def make_task(**options):
    torch.manual_seed(0)
    return NodeDenoisingTask(ToyEncoder(16), **options)


def test_encoder_reads_noisy_positions():
    task = make_task().double()
    found = [
        task.predict(noisy_batch(where=where, dtype=torch.float64))["denoise"]
        for where in ("graph", "batch", "pos")
    ]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])
    clean = noisy_batch(dtype=torch.float64)
    del clean["graph"].noisy_pos
    assert not torch.allclose(task.predict(clean)["denoise"], found[0])


def test_batch_is_not_changed():
    batch = noisy_batch()
    before = batch["graph"].pos.clone()
    make_task().predict(batch)
    assert torch.equal(batch["graph"].pos, before)
    assert isinstance(batch["graph"], SimpleNamespace)


def test_task_learns_noise(make_trainer):
    task = make_task(lr=0.01, normalize_kwargs={"denoise_std": 0.05})
    batch = noisy_batch()
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    make_trainer(max_epochs=150).fit(task, loader, loader)
    error = (task.predict(batch)["denoise"] - batch["targets"]["denoise"]).square().mean().sqrt()
    assert error < 0.5 * 0.05


def test_invalid_arguments_and_batches_are_refused(make_trainer, data):
    with pytest.raises(ValueError, match=r"must be \['denoise'\], got \['force'\]"):
        make_task(task_keys=["force"])
    with pytest.raises(ValueError, match=r"must be \['denoise'\], got \[\]"):
        make_task(task_keys=[])
    for auto in ("auto", {"auto": True, "denoise_std": 0.1}):
        with pytest.raises(ValueError, match="the noise is drawn for each sample"):
            make_task(normalize_kwargs=auto)
    with pytest.raises(ValueError, match=r"no target 'denoise', .* Add NoisyPositions to the transforms"):
        make_trainer().fit(make_task(), data)
    batch = noisy_batch()
    batch["graph"].noisy_pos = batch["graph"].noisy_pos[:-1]
    with pytest.raises(
        ValueError, match=r"'noisy_pos' must have the shape of the positions, .* got \[23, 3\]"
    ):
        make_task().predict(batch)
