import collections
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_xpu.checkpoints import RNG_KEY, on_cpu

plain = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.just(object()))
containers = st.recursive(
    plain,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.tuples(inside, inside),
        st.dictionaries(st.text(max_size=2), inside, max_size=3),
    ),
    max_leaves=8,
)


@given(value=containers)
def test_on_cpu_returns_values_without_xpu_tensors(value):
    assert on_cpu(value) is value


def test_on_cpu_moves_nested_tensors(stand_in):
    values = torch.arange(3.0)
    here = torch.ones(2)
    state_dict = collections.OrderedDict(weight=stand_in.TensorOfXPU(values), bias=here)
    state_dict._metadata = {"": {"version": 2}}
    checkpoint = {"state_dict": state_dict, "more": [(1, {"exp_avg": stand_in.TensorOfXPU(values)})], "n": 3}
    moved = on_cpu(checkpoint)
    assert moved["state_dict"]["weight"].device.type == "cpu"
    assert torch.equal(moved["state_dict"]["weight"], values)
    assert moved["state_dict"]["bias"] is here
    assert type(moved["state_dict"]) is collections.OrderedDict
    assert moved["state_dict"]._metadata == state_dict._metadata
    assert torch.equal(moved["more"][0][1]["exp_avg"], values)
    assert list(moved["state_dict"]) == ["weight", "bias"]
    assert checkpoint["state_dict"]["weight"].device.type == "xpu", "the running model keeps its tensors"


class Recorder:
    """Recorder of the calls of a CheckpointIO that is not derived from Lightning's class."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments, **options: self.calls.append((name, arguments, options))


def test_checkpoint_io_saves_cpu_tensors(lightning, stand_in):
    recorder, xpu = Recorder(), stand_in.TensorOfXPU(torch.arange(3.0))
    io = lightning.PortableCheckpointIO(recorder)
    io.save_checkpoint({"state": xpu}, "a.ckpt", storage_options=7)
    io.load_checkpoint("a.ckpt", weights_only=True)
    io.remove_checkpoint("a.ckpt")
    io.teardown()
    (_, (saved, path), options), *others = recorder.calls
    assert saved["state"].device.type == "cpu"
    assert torch.equal(saved["state"], torch.arange(3.0))
    assert (path, options) == ("a.ckpt", {"storage_options": 7})
    assert others == [
        ("load_checkpoint", ("a.ckpt",), {"weights_only": True}),
        ("remove_checkpoint", ("a.ckpt",), {}),
        ("teardown", (), {}),
    ]


def test_accelerator_wraps_other_strategies(lightning, two_xpus):
    """The strategy `ddp_with_xpu` of mml-distributed is another subclass of Lightning's DDPStrategy."""
    accelerator, theirs = lightning.XPUAccelerator(), type("Theirs", (lightning.DDPStrategy,), {})
    for strategy in (theirs(), lightning.DDPXPUStrategy(), lightning.SingleXPUStrategy()):
        before = strategy.checkpoint_io
        trainer = SimpleNamespace(strategy=strategy, precision_plugin=lightning.pl.plugins.Precision())
        for _ in range(2):  # once for `fit`, once for `test`
            accelerator.setup(trainer)
        assert type(strategy.checkpoint_io) is lightning.PortableCheckpointIO
        assert strategy.checkpoint_io.inner is before


def model_class(pl):
    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
            self.losses = []

        def training_step(self, batch, batch_idx):
            loss = (self.layer(batch) - batch.sum(1, keepdim=True)).square().mean()
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.05)

    return Model


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*checkpoint directory.*", "ignore:.*GPU available but not used.*")
def test_run_resumes_on_xpu_and_cpu(lightning, two_xpus, tmp_path):
    """The accelerator's devices are CPU devices, and the random state is that of the stand-in."""
    pl, model = lightning.pl, model_class(lightning.pl)
    data = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))

    def fit(epochs, accelerator, ckpt_path=None):
        torch.manual_seed(3)
        module = model()
        strategy = "auto" if accelerator == "cpu" else "single_xpu"
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            strategy=strategy,
            max_epochs=epochs,
            default_root_dir=tmp_path,
            **options,
        )
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4), ckpt_path=ckpt_path)
        return module, trainer

    straight, _ = fit(4, "cpu")
    half, trainer = fit(2, lightning.CPUAsXPU())
    assert type(trainer.strategy) is lightning.SingleXPUStrategy
    state = two_xpus.rng_state.clone()
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    assert RNG_KEY not in torch.load(tmp_path / "weights.ckpt", weights_only=True)
    two_xpus.rng_state = torch.zeros(8, dtype=torch.uint8)
    resumed, _ = fit(4, lightning.CPUAsXPU(), tmp_path / "half.ckpt")
    assert torch.equal(two_xpus.rng_state, state)
    on_the_cpu, _ = fit(4, "cpu", tmp_path / "half.ckpt")
    assert half.losses + resumed.losses == straight.losses
    assert half.losses + on_the_cpu.losses == straight.losses
    loaded = model.load_from_checkpoint(tmp_path / "half.ckpt")
    assert all(map(torch.equal, loaded.parameters(), half.parameters()))
