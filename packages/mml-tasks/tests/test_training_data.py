from types import SimpleNamespace
from typing import Any

import pytest
from mml_tasks.normalization.training_data import TrainingData
from mml_tasks.task_scope import TaskScope


class Data:
    def target_statistics(self) -> dict[str, Any]:
        return {"md": {"energy": {"mean": 1.0}}, "bulk": {"gap": {"mean": 2.0}}}


def make_trainer(loaders: Any = None, fn: str = "fit", datamodule: Any = None) -> Any:
    source = SimpleNamespace(dataloader=lambda: loaders)
    return SimpleNamespace(
        datamodule=datamodule,
        state=SimpleNamespace(fn=fn),
        fit_loop=SimpleNamespace(_data_source=source),
    )


def make_scope(trainer: Any) -> TaskScope:
    return TaskScope(SimpleNamespace(trainer=trainer), "bulk/Task", "bulk", ("md", "bulk"))  # type: ignore[arg-type]


def test_data_module_provides_statistics():
    trainer = make_trainer(datamodule=Data())
    assert TrainingData(trainer).statistics() == Data().target_statistics()
    assert TrainingData(trainer, make_scope(trainer)).statistics() == {"gap": {"mean": 2.0}}
    assert TrainingData(make_trainer()).statistics() is None


def test_scope_selects_the_loader():
    trainer = make_trainer({"md": "loader of md", "bulk": "loader of bulk"})
    assert TrainingData(trainer, make_scope(trainer)).loader(["gap"]) == "loader of bulk"
    assert TrainingData(make_trainer("one loader")).loader(["gap"]) == "one loader"


def test_several_loaders_are_refused():
    with pytest.raises(ValueError, match=r"reads one training loader, got 2. .* \['gap'\]"):
        TrainingData(make_trainer(["one", "other"])).loader(["gap"])


def test_loader_without_a_fit_is_refused():
    with pytest.raises(ValueError, match=r"needs a data module .* statistics of \['gap'\]"):
        TrainingData(make_trainer("loader", fn="predict")).loader(["gap"])
