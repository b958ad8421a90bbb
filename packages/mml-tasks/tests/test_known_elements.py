import logging

import pytest
import torch
from mml_samples import SYMBOLS, forget_notices
from mml_tasks import ForceRegressionTask, ScalarRegressionTask
from mml_tasks.known_elements import CHECKPOINT_KEY, KnownElements
from mml_tasks.testing import ToyEncoder

NUMBERS = torch.tensor([29, 29, 8])


def test_all_elements_are_accepted_while_unknown():
    known = KnownElements()
    known.add(None)
    known.check(NUMBERS, "the batch", "refuse")
    assert known.symbols() is None


def test_unknown_elements_are_refused():
    known = KnownElements()
    known.add(["Cu"])
    known.check(NUMBERS[:2], "the batch", "refuse")
    with pytest.raises(ValueError, match=r"the batch contains O, which the training data \(Cu\) did not"):
        known.check(NUMBERS, "the batch", "refuse")
    with pytest.raises(ValueError, match="contains atomic number 0, atomic number 300"):
        known.check(torch.tensor([300, 0, 29]), "the batch", "refuse")
    known.add(["O"])
    known.check(NUMBERS, "the batch", "refuse")
    assert known.symbols() == ["O", "Cu"]


def test_warning_is_logged_once(caplog):
    forget_notices()
    known = KnownElements()
    known.add(["Cu"])
    with caplog.at_level(logging.WARNING, "mml_tasks"):
        known.check(NUMBERS, "one", "warn")
        known.check(NUMBERS, "two", "warn")
    assert [record.message for record in caplog.records] == [
        "one contains O, which the training data (Cu) did not. Its predictions are not reliable"
    ]


def elements_of(data):
    numbers = torch.cat([graph.atomic_numbers for graph, _ in data.samples])
    return [SYMBOLS[n] for n in numbers.unique().tolist()]


@pytest.mark.parametrize("kind", [ForceRegressionTask, ScalarRegressionTask])
def test_checkpoint_knows_elements(kind, data, make_trainer, batch, tmp_path, monkeypatch):
    elements = elements_of(data)
    monkeypatch.setattr(type(data), "training_elements", lambda self: elements, raising=False)
    keys = ["energy"] if kind is ForceRegressionTask else ["band_gap"]
    task = kind(encoder_class=ToyEncoder, task_keys=keys)
    trainer = make_trainer(max_steps=1)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    stored = torch.load(tmp_path / "a.ckpt", weights_only=True)[CHECKPOINT_KEY]
    assert sorted(stored) == sorted(elements)
    loaded = kind.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True).double()
    loaded.predict(batch)
    batch["graph"].atomic_numbers[0] = 99
    with pytest.raises(ValueError, match=r"the batch of sample 'toy/000000' contains Es, which the training"):
        loaded.predict(batch)
    data.samples[0][0].atomic_numbers[0] = 99
    with pytest.raises(ValueError, match="contains Es"):
        make_trainer().predict(loaded.float(), data)
    make_trainer().test(loaded, data, verbose=False)
    loaded.unknown_elements = "warn"
    assert loaded.double().predict(batch)
