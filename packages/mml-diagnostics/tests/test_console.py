import contextlib
import io
import logging

import pytest
from mml_diagnostics import GradientCheckCallback, MonitorGradients
from mml_diagnostics.console import PACKAGE, leave_console, speak_on_console

package = logging.getLogger(PACKAGE)
event = logging.getLogger(f"{PACKAGE}.gradient_check")


def hide_handlers(monkeypatch):
    """Hide the log handlers that pytest adds, so that no handler is configured, as in a plain script."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert not package.hasHandlers()


def test_console_shows_messages_until_last_speaker_leaves(capsys, monkeypatch):
    hide_handlers(monkeypatch)
    first, second = object(), object()
    for speaker in (first, first, second):
        speak_on_console(speaker)
    event.info("one")
    leave_console(first)
    event.info("two")
    leave_console(second)
    leave_console(second)
    event.info("three")
    prefix = f"{PACKAGE}.gradient_check: "
    assert capsys.readouterr().err == f"{prefix}one\n{prefix}two\n"
    assert (package.handlers, package.level) == ([], logging.NOTSET)


def test_console_leaves_configured_handlers_alone(caplog):
    speak_on_console(caplog)
    assert package.handlers == []
    event.info("seen by the handler")
    leave_console(caplog)
    event.info("not seen")
    assert caplog.messages == ["seen by the handler"]
    assert package.level == logging.NOTSET


@pytest.mark.parametrize(
    "callback", [GradientCheckCallback(thres=1e9, verbose=True), MonitorGradients(1, verbose=True)]
)
def test_verbose_callback_follows_redirected_stderr(
    callback, monkeypatch, make_trainer, make_task, make_loader, samples
):
    hide_handlers(monkeypatch)
    streams = [io.StringIO(), io.StringIO()]
    for stream in streams:
        with contextlib.redirect_stderr(stream):
            make_trainer(callback).fit(make_task(), make_loader(samples))
        assert package.handlers == []
    assert all(f"{PACKAGE}." in stream.getvalue() for stream in streams)


def test_console_is_left_after_failed_fit(
    monkeypatch, make_trainer, make_task, task_class, make_loader, samples
):
    hide_handlers(monkeypatch)

    class Failing(task_class):
        def training_step(self, batch, batch_idx):
            assert package.handlers != []
            raise RuntimeError("failed")

    with contextlib.redirect_stderr(io.StringIO()), pytest.raises(RuntimeError, match="failed"):
        make_trainer(MonitorGradients(verbose=True)).fit(make_task(Failing), make_loader(samples))
    assert (package.handlers, package.level) == ([], logging.NOTSET)
