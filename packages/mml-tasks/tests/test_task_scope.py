import pytest
from mml_tasks.task_scope import TaskScope


class Recorder:
    """Module of several tasks, which records logged values."""

    trainer = None

    def __init__(self):
        self.logged = {}

    def log(self, name, value, **options):
        self.logged[name] = (value, options)


class Data:
    def __init__(self, found):
        self.found = found

    def target_statistics(self):
        return self.found


class Trainer:
    def __init__(self, datamodule):
        self.datamodule = datamodule


def make_scope(datasets=("md", "bulk"), statistics=None):
    module = Recorder()
    module.trainer = Trainer(None if statistics is None else Data(statistics))
    return TaskScope(module, "bulk/Task", "bulk", tuple(datasets))


def test_logged_names_have_prefix():
    scope = make_scope()
    scope.log("val_loss", 1.0, prog_bar=True, on_epoch=True)
    value, options = scope.module.logged["bulk/Task/val_loss"]
    assert value == 1.0
    assert options == {"prog_bar": False, "add_dataloader_idx": False, "on_epoch": True}


def test_loader_is_found_by_name():
    assert make_scope().loader_of({"md": 1, "bulk": 2}) == 2
    assert make_scope().loader_of([3]) == [3]


def test_scope_selects_statistics():
    own = {"energy": {"mean": 1.0}}
    assert make_scope(statistics={"md": {}, "bulk": own}).statistics() is own
    assert make_scope(["bulk"], own).statistics() is own
    assert make_scope().statistics() is None
    with pytest.raises(ValueError, match=r"must have one entry for each of the data sets .*got \['energy'\]"):
        make_scope(statistics=own).statistics()
