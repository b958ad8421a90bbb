"""Turn config errors into one sentence: the key, the error, and the probably intended name."""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pytorch_lightning import Trainer

TOP = ["seed_everything", "name", "runs_dir", "ckpt_path", "config", "trainer", "model", "data"]
STRUCTURE = re.compile(
    r"^(-\s*)?(Parser key|Does not validate|Subtypes|Errors:|Problem with given class_path|Given value"
    r"|Expected a <class 'NoneType'>)"
)


@contextmanager
def raise_readable(command: str) -> Iterator[None]:
    """Convert jsonargparse's report, a tree of all attempted types, to a `ValueError` with one sentence.

    Parameters
    ----------
    command
        Command whose ``--help-all`` the message recommends.

    Raises
    ------
    ValueError
        If the code in the context raises one of jsonargparse's errors.
    """
    try:
        yield
    except argparse.ArgumentError as error:
        text = explain(str(error))
        if not text.startswith("config file"):
            text += f"{'' if text.endswith('?') else ';'} `matsciml {command} --help-all` lists all options"
        raise ValueError(text) from error
    except (TypeError, ValueError) as error:
        # An error raised by the constructor of a class in the config is part of the same tree.
        if "Does not validate against any of the Union subtypes" not in str(error):
            raise
        raise ValueError(explain(str(error))) from error


def explain(report: str) -> str:
    """Summarize a report of jsonargparse as a single sentence.

    Parameters
    ----------
    report
        Text of the `argparse.ArgumentError`.
    """
    if unknown := re.search(r"does not accept option '([^']+)'", report):
        return _unknown_top(unknown[1])
    if unknown := re.search(r"[Uu]nrecognized arguments: (.*)", report, re.DOTALL):
        first = unknown[1].split()[0].lstrip("-").split("=")[0]
        return _unknown_top(first, "--")
    if missing := re.search(r'Parser key "config": File does not exist: (.+)', report):
        return f"config file {missing[1].strip()} does not exist; pass an existing file"
    place = ".".join(re.findall(r'Parser key "([^"]+)"', report))
    classes = re.findall(r"class_path ?=?'([^']+)'", report.split("Given value")[0])
    if option := re.search(
        r"Option '([^']+)' is not accepted(?:\. Got value: \w+\(class_path='([^']+)')?", report
    ):
        owner = option[2] or (classes[-1] if classes else "")
        name = option[1].split(".")[0]
        return f"config key {place}: {owner or 'it'} has no option {name!r}{_meant(name, _options(owner))}"
    lines = [line.strip().lstrip("- ") for line in report.splitlines()]
    reasons = [line for line in lines if line and not STRUCTURE.match(line)] or [lines[-1]]
    clear = r"has no attribute|No module named|Multiple subclasses with name"
    named = [line for line in reasons if re.search(clear, line)]
    reason = re.sub(r"^Parser key \"[^\"]+\": ", "", (named or reasons)[0])
    given = re.search(r"Given value: (.*)", report)
    if reason.startswith("Expected a") and "Got value" not in reason and given:
        reason = f"{reason}, got {given[1]}"
    reason = re.sub(r"<class '([^']+)'>", r"\1", reason).rstrip(".")
    reason = re.sub(r"^Expected a (?=[aeiou])", "Expected an ", reason)
    reason = re.sub(r"^Expected", "expected", reason)
    owner = f" ({classes[-1]})" if classes else ""
    return f"config key {place}{owner}: {reason}" if place else reason


def _unknown_top(key: str, prefix: str = "") -> str:
    first, _, rest = key.partition(".")
    if first == "trainer" and rest:
        options = [f"trainer.{name}" for name in inspect.signature(Trainer).parameters]
        return f"unknown option {prefix}{key}{_meant(key, options)}"
    return f"unknown option {prefix}{key}{_meant(first, TOP)}"


def _options(class_path: str) -> list[str]:
    """Return the argument names of a class, including those that it passes on to its base classes."""
    module, _, name = class_path.rpartition(".")
    try:
        owner = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return []
    names: list[str] = []
    for base in inspect.getmro(owner) if inspect.isclass(owner) else [owner]:
        if inspect.isclass(owner) and "__init__" not in vars(base):
            continue
        function = vars(base)["__init__"] if inspect.isclass(owner) else base
        parameters = inspect.signature(function).parameters.values()
        names += [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return [name for name in dict.fromkeys(names) if name != "self"]


def _meant(name: str, options: Iterable[str]) -> str:
    options = list(options)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; the options are {', '.join(options)}" if 0 < len(options) <= 16 else ""
