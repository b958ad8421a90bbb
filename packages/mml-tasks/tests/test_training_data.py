from types import SimpleNamespace
from typing import Any

import pytest
from mml_tasks.normalization.training_data import TrainingData, check_kinds, check_labels, inferred_keys
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


STATISTICS = {"energy": {"count": 3}, "gap": {"count": 0, "missing": 3}}


def test_keys_are_inferred_from_statistics():
    assert inferred_keys("Task", list, STATISTICS) == ["energy", "gap"]
    with pytest.raises(ValueError, match=r"Task has no task_keys, and no data module provides target_stat"):
        inferred_keys("Task", list, None)
    with pytest.raises(ValueError, match=r"Task cannot learn any of the targets \['energy', 'gap'\]"):
        inferred_keys("Task", lambda statistics: [], STATISTICS)


def test_missing_targets_and_labels_are_refused():
    check_labels(["energy"], STATISTICS)
    with pytest.raises(ValueError, match="'force' is not in the data set"):
        check_labels(["energy", "force"], STATISTICS)
    with pytest.raises(ValueError, match="'gap' is missing in every sample of the training data"):
        check_labels(["gap"], STATISTICS)


def test_other_kinds_name_their_task():
    statistics = {"dipole": {"kind": "vector"}, "gap": {"kind": "scalar"}, "old": {"mean": 1.0}}
    check_kinds("ScalarRegressionTask", {"scalar"}, ["gap", "old"], statistics)
    message = (
        "target 'dipole' is of kind 'vector', but ScalarRegressionTask learns .* Use VectorRegressionTask"
    )
    with pytest.raises(ValueError, match=message):
        check_kinds("ScalarRegressionTask", {"scalar"}, ["dipole"], statistics)
