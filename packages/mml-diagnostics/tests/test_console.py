"""verbose=True reaches a console that nobody set up, and leaves one alone that somebody did."""

import logging

from mml_diagnostics.console import PACKAGE, speak_on_console


def test_console_without_logging_set_up(capsys, monkeypatch):
    package = logging.getLogger(PACKAGE)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(package, "handlers", [])
    monkeypatch.setattr(package, "level", logging.NOTSET)
    logging.getLogger().manager._clear_cache()
    speak_on_console()
    speak_on_console()
    logging.getLogger(f"{PACKAGE}.gradient_check").info("an event")
    assert capsys.readouterr().err == "mml_diagnostics.gradient_check: an event\n"
    package.setLevel(logging.NOTSET)


def test_console_that_is_set_up(monkeypatch):
    package = logging.getLogger(PACKAGE)
    monkeypatch.setattr(package, "handlers", [])
    mine = logging.NullHandler()
    logging.getLogger().addHandler(mine)
    try:
        speak_on_console()
        assert package.handlers == []
    finally:
        logging.getLogger().removeHandler(mine)
        package.setLevel(logging.NOTSET)
