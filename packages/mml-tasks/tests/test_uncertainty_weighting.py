import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_tasks import ForceRegressionTask, UncertaintyLoss, UncertaintyWeighting
from mml_tasks.testing import ToyEncoder
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KEYS = ["energy", "force"]


# ---------------------------------------------------------------- the formula


@given(
    st.lists(st.floats(0.01, 100), min_size=3, max_size=3), st.lists(st.floats(-3, 3), min_size=3, max_size=3)
)
def test_loss_equals_formula(losses, log_variances):
    loss = UncertaintyLoss(["a", "b", "c"], classification_keys=["b"]).double()
    with torch.no_grad():
        loss.log_variances.copy_(torch.tensor(log_variances))
    sigma = [math.exp(s / 2) for s in loss.log_variances.tolist()]
    a, b, c = losses
    expected = (
        a / (2 * sigma[0] ** 2) + b / sigma[1] ** 2 + c / (2 * sigma[2] ** 2) + sum(map(math.log, sigma))
    )
    given_ = dict(zip("abc", torch.tensor(losses, dtype=torch.float64), strict=True))
    assert loss(given_).item() == pytest.approx(expected)
    assert loss.weights()["b"] == pytest.approx(sigma[1] ** -2, rel=1e-5)
    assert loss.weights()["c"] == pytest.approx(0.5 * sigma[2] ** -2, rel=1e-5)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_minimum_is_mean_squared_error(error, entropy):
    loss = UncertaintyLoss(["energy", "label"], ["label"]).double()
    with torch.no_grad():
        loss.log_variances.copy_(torch.tensor([math.log(error), math.log(2 * entropy)]))
    loss({"energy": torch.tensor(error).double(), "label": torch.tensor(entropy).double()}).backward()
    assert loss.log_variances.grad.abs().max() < 1e-6


def test_missing_targets_are_ignored():
    loss = UncertaintyLoss(KEYS)
    total = loss({"energy": torch.tensor(4.0), "stress": torch.tensor(10.0)})
    assert total.item() == 12.0, "half the energy's, and the stress's as it is"
    total.backward()
    assert loss.log_variances.grad.tolist() == [-1.5, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), r"nonempty list of unique targets, got \[\]"),
        ((["a", "a"],), "unique targets"),
        ((["a"], ["b"]), r"classification_keys has unknown targets \['b'\], expected some of \['a'\]"),
        ((["a"], [], math.nan), "initial_log_variance must be finite, got nan"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    for made in (UncertaintyLoss, UncertaintyWeighting):
        with pytest.raises(ValueError, match=message):
            made(*arguments)


# ---------------------------------------------------------------- in a run


@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_equals_plain_loop(tiny, make_trainer, accumulate):
    module = tiny()
    module.task_loss_scaling["force"] = 3.0
    weighting = UncertaintyWeighting(KEYS)
    make_trainer(callbacks=[weighting], accumulate_grad_batches=accumulate).fit(
        module, DataLoader(torch.ones(12))
    )

    numbers = torch.tensor([1.0, 3.0], requires_grad=True)
    s = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([numbers, s], 0.01)
    for batch in range(12):
        losses = (numbers - torch.tensor([0.0, 1.0])).square() * torch.tensor([1.0, 3.0])
        (((-s).exp() * losses + s).sum() / 2 / accumulate).backward()
        if batch % accumulate == accumulate - 1:
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(module.numbers, numbers)
    torch.testing.assert_close(weighting.loss.log_variances, s)
    assert (s != 0).all()
    assert module.task_loss_scaling == {"energy": 1.0, "force": 3.0}
    assert module.loss_weighting is None, "given back when the fit is over"


def test_stopped_run_resumes_exactly(tiny, make_trainer, tmp_path):
    def run(ckpt_path: Any = None, **options: Any):
        module, weighting = tiny(), UncertaintyWeighting(KEYS)
        checkpoint = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        trainer = make_trainer(
            max_epochs=2, callbacks=[weighting, checkpoint], enable_checkpointing=True, **options
        )
        trainer.fit(module, DataLoader(torch.ones(4)), ckpt_path=ckpt_path)
        return module.numbers, weighting.loss.log_variances

    numbers, log_variances = run()
    for step in (3, 4, 6):
        path = tmp_path / f"step={step}.ckpt"
        stored = torch.load(path, weights_only=True)
        assert set(stored["state_dict"]) == {"numbers"}, (
            "the module's own, so that it loads without the callback"
        )
        assert len(stored["optimizer_states"][0]["state"]) == 2
        again = run(path)
        assert torch.equal(again[0], numbers)
        assert torch.equal(again[1], log_variances)


def test_callback_weights_tasks(data, make_trainer, tmp_path):
    task = ForceRegressionTask(ToyEncoder(), normalize_kwargs="auto", lr=0.05, weight_decay=0.1)
    weighting = UncertaintyWeighting(KEYS)
    logger = pl.loggers.CSVLogger(tmp_path)
    options = {"precision": "bf16-mixed", "gradient_clip_val": 1.0, "logger": logger, "log_every_n_steps": 1}
    trainer = make_trainer(max_epochs=2, callbacks=[weighting], **options)
    trainer.fit(task, data)
    assert all(weight != 0.5 for weight in weighting.loss.weights().values())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = ForceRegressionTask.load_from_checkpoint(tmp_path / "a.ckpt", encoder=ToyEncoder())
    make_trainer().validate(loaded, data, verbose=False)
    (path,) = tmp_path.glob("**/metrics.csv")
    header, first, *_ = path.read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert (row["loss_scaling/energy"], row["loss_scaling/force"], row["step"]) == ("0.5", "0.5", "0")


# ---------------------------------------------------------------- what it cannot use


def test_incomplete_optimizer_is_refused(tiny, make_trainer):
    class Own(tiny):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD([self.numbers], 0.1)

    with pytest.raises(
        ValueError, match=r"no optimizer contains the log variances .* Pass self.parameters\(\) .* of Own"
    ):
        make_trainer(callbacks=[UncertaintyWeighting(KEYS)]).fit(Own(), DataLoader(torch.ones(2)))


def test_module_without_loss_weighting_is_refused(tiny, make_trainer):
    module = tiny()
    del module.loss_weighting
    with pytest.raises(
        TypeError, match=r"TinyModule has no attribute loss_weighting\. Set self\.loss_weighting = None"
    ):
        make_trainer(callbacks=[UncertaintyWeighting(KEYS)]).fit(module, DataLoader(torch.ones(2)))


def test_second_loss_weighting_is_refused(tiny, make_trainer):
    module = tiny()
    module.loss_weighting = UncertaintyLoss(KEYS)
    with pytest.raises(ValueError, match="TinyModule already has a loss_weighting"):
        make_trainer(callbacks=[UncertaintyWeighting(KEYS)]).fit(module, DataLoader(torch.ones(2)))
    make_trainer().fit(module, DataLoader(torch.ones(2)))
    assert (module.loss_weighting.log_variances != 0).all(), "it learns all the same"


def test_checkpoint_of_other_targets_is_refused(tiny, make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[UncertaintyWeighting(KEYS)])
    trainer.fit(tiny(), DataLoader(torch.ones(2)))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(
        ValueError,
        match=r"log variances of \['energy', 'force'\], but .* has the targets \['energy'\]",
    ):
        make_trainer(max_epochs=2, callbacks=[UncertaintyWeighting(["energy"])]).fit(
            tiny(), DataLoader(torch.ones(2)), ckpt_path=tmp_path / "a.ckpt"
        )
