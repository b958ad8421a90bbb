"""Behavior that all diagnostics share: the file of findings, log messages and errors."""

import json
import logging

import pytest
from mml_diagnostics import DiagnosticCallback, Problem
from mml_diagnostics.base import never_fatal


class Sees(DiagnosticCallback):
    """Diagnostic that reports one problem per batch, and optionally fails at a step."""

    def __init__(self, check, fails_at=-1):
        super().__init__()
        self.check, self.fails_at, self.detached = check, fails_at, 0

    @property
    def state_key(self):
        return f"Sees-{self.check}"

    @never_fatal
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._step = trainer.global_step
        if batch_idx == self.fails_at:
            raise ZeroDivisionError("of no consequence")
        self.report(Problem(self.check, "warning", "seen", "do", where="here"), self._step)

    def detach(self):
        self.detached += 1


def read(path):
    return {f["check"]: f for f in json.loads((path / "findings.json").read_text())["findings"]}


def test_diagnostics_share_file_and_log_once(samples, make_loader, make_task, make_trainer, tmp_path, caplog):
    make_trainer(Sees("one"), Sees("two")).fit(make_task(), make_loader(samples))
    content = read(tmp_path)
    assert [(name, f["count"], f["first_step"], f["last_step"]) for name, f in content.items()] == [
        ("one", 4, 0, 3),
        ("two", 4, 0, 3),
    ]
    lines = [r for r in caplog.records if r.name == "mml_diagnostics.base"]
    assert [r.getMessage() for r in lines] == [
        "one [here], step 0: seen do",
        "two [here], step 0: seen do",
        "Sees found again: one [here] 4 times, steps 0 to 3.",
        "Sees found again: two [here] 4 times, steps 0 to 3.",
    ]
    assert {r.levelno for r in lines} == {logging.WARNING}


def test_failing_diagnostic_is_switched_off(samples, make_loader, make_task, make_trainer, tmp_path, caplog):
    bad, good = Sees("bad", fails_at=2), Sees("good")
    make_trainer(bad, good, max_epochs=2).fit(make_task(), make_loader(samples))
    content = read(tmp_path)
    assert content["bad"]["count"] == 2
    assert content["good"]["count"] == 8
    failed = content["diagnostic_failed"]
    assert (failed["where"], failed["count"], failed["first_step"]) == ("Sees", 1, 2)
    assert "ZeroDivisionError: of no consequence" in failed["message"]
    assert len([r for r in caplog.records if r.exc_info]) == 1
    assert bad.switched_off
    assert bad.detached == 1
    assert good.detached == 1


def test_interrupt_is_raised(samples, make_loader, make_task, make_trainer, tmp_path):
    class Stops(Sees):
        @never_fatal
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        make_trainer(Stops("one")).fit(make_task(), make_loader(samples))
    assert read(tmp_path)["one"]["count"] == 1


def test_unwritable_file_does_not_stop_run(samples, make_loader, make_task, make_trainer, tmp_path, caplog):
    (tmp_path / "taken").write_text("a file where the directory should be")
    trainer = make_trainer(Sees("one"), default_root_dir=tmp_path / "taken")
    trainer.fit(make_task(), make_loader(samples))
    assert trainer.global_step == 4
    assert any("findings could not be written" in r.getMessage() for r in caplog.records)


def test_evaluation_writes_nothing(samples, make_loader, make_task, make_trainer, task_class, tmp_path):
    class Evaluates(task_class):
        def validation_step(self, batch, batch_idx):
            pass

    make_trainer(Sees("one")).validate(make_task(Evaluates), make_loader(samples), verbose=False)
    assert not (tmp_path / "findings.json").exists()
