import importlib.util
from pathlib import Path

import torch
from mml_tasks import ForceRegressionTask
from mml_tasks.tasks.multitask.multitask_absent import join_evaluation, join_step
from mml_tasks.testing import ToyEncoder

SCRIPT = Path(__file__).with_name("two_ranks_multitask.py")
spec = importlib.util.spec_from_file_location("two_ranks_multitask", SCRIPT)
assert spec is not None
assert spec.loader is not None
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
train_both = script.train_both


def test_two_ranks_equal_one(on_two_ranks, tmp_path):
    """A single rank has batches of twice the size. In the mixed run, rank zero lacks one data set."""
    on_two_ranks(SCRIPT, tmp_path)
    expected = {"both": train_both(4), "mixed": script.train_mixed(None)}
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for kind, state in expected.items():
            for key, value in state.items():
                torch.testing.assert_close(found[kind][key], value, rtol=1e-4, atol=1e-6, msg=f"{kind} {key}")


def test_single_rank_only_forgets_terms(data, make_trainer):
    task = ForceRegressionTask(ToyEncoder())
    make_trainer().fit(task, data)
    assert task.last_terms
    join_evaluation(task, "val")
    assert task.last_terms
    join_step(task)
    assert task.last_terms == {}
