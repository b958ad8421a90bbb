import pytest
import torch
from mml_xpu import devices


def test_trainer_passes_selected_device(lightning, two_xpus):
    trainer = lightning.pl.Trainer(accelerator="xpu", devices=[1], strategy="single_xpu", logger=False)
    assert isinstance(trainer.strategy, lightning.SingleXPUStrategy)
    assert isinstance(trainer.accelerator, lightning.XPUAccelerator)
    assert trainer.strategy.root_device == torch.device("xpu", 1)
    trainer.strategy.setup_environment()
    assert two_xpus.calls == [("set_device", "xpu:1")]


def test_strategy_keeps_its_device(lightning, two_xpus):
    strategy = lightning.SingleXPUStrategy("xpu:1")
    trainer = lightning.pl.Trainer(accelerator="xpu", devices=1, strategy=strategy, logger=False)
    assert trainer.strategy.root_device == torch.device("xpu", 1)


@pytest.mark.parametrize(
    ("device", "index"), [(None, 0), ("xpu", 0), (1, 1), (0, 0), (torch.device("xpu", 1), 1)]
)
def test_strategy_accepts_spellings_of_device(lightning, device, index):
    assert lightning.SingleXPUStrategy(device).root_device == torch.device("xpu", index)


def test_strategy_rejects_several_devices(lightning, two_xpus):
    with pytest.raises(ValueError, match=r"requires one device, got 2. Pass devices=1 or strategy='ddp_xpu'"):
        lightning.pl.Trainer(accelerator="xpu", devices=2, strategy="single_xpu", logger=False)


def test_strategy_rejects_other_device(lightning):
    with pytest.raises(ValueError, match=r"must be an Intel GPU .*, got 'cuda:0'"):
        lightning.SingleXPUStrategy("cuda:0")


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*deprecated.*:FutureWarning"
)
@pytest.mark.filterwarnings("ignore:.*GPU available but not used.*")
def test_fit_calls_accelerator_in_order(lightning, two_xpus, tmp_path, monkeypatch):
    """The Trainer runs its loop, but the tensors stay on the CPU."""
    pl = lightning.pl

    def stay_on_the_cpu(strategy):
        two_xpus.calls.append(("model", str(strategy.root_device)))
        strategy._root_device = torch.device("cpu")

    monkeypatch.setattr(lightning.SingleXPUStrategy, "model_to_device", stay_on_the_cpu)
    monkeypatch.setattr(
        lightning.SingleXPUStrategy,
        "batch_to_device",
        lambda self, batch, device=None, dataloader_idx=0: batch,
    )

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, batch_idx):
            two_xpus.calls.append(("step",))
            return self.layer(batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = pl.Trainer(
        accelerator="xpu",
        devices=1,
        strategy="single_xpu",
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2))
    assert two_xpus.calls == [
        ("set_device", "xpu:0"),
        ("model", "xpu:0"),
        ("step",),
        ("step",),
        ("empty_cache",),
    ]


def test_strategy_moves_batches_without_blocking(lightning, two_xpus):
    moves = []

    class Recorded(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            if function is torch.Tensor.to:
                moves.append((str(arguments[1]), options))
                return arguments[0]
            return super().__torch_function__(function, types, arguments, options or {})

    batch = {"pos": torch.ones(2, 3).as_subclass(Recorded), "name": "Si"}
    moved = lightning.SingleXPUStrategy("xpu:1").batch_to_device(batch)
    assert moved["pos"] is batch["pos"]
    assert moves == [("xpu:1", {"non_blocking": True})]


@pytest.mark.filterwarnings("ignore")
def test_compiled_model_trains_like_uncompiled(lightning, monkeypatch, tmp_path):
    """torch.compile captures the model without generating code. The accelerator uses CPU devices."""
    monkeypatch.setattr(devices, "device_count", lambda: 1)
    pl = lightning.pl

    class Model(pl.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(3, 1)
            self.losses = []

        def training_step(self, batch, batch_idx):
            loss = (self.layer(batch) - 1).square().mean()
            self.losses.append(loss.detach())
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(compiled):
        module = Model()
        options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        trainer = pl.Trainer(
            accelerator=lightning.CPUAsXPU(),
            devices=1,
            strategy="single_xpu",
            max_epochs=2,
            default_root_dir=tmp_path,
            **options,
        )
        data = torch.utils.data.DataLoader(torch.arange(24.0).view(8, 3) / 24, batch_size=4)
        trainer.fit(torch.compile(module, backend="eager") if compiled else module, data)
        return [float(loss) for loss in module.losses]

    assert fit(compiled=True) == pytest.approx(fit(compiled=False))
