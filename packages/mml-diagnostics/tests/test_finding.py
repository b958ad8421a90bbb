"""Findings: counts, their limit, and the file."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mml_diagnostics.finding import Finding, FindingLog, Problem, write_findings

PROBLEM = Problem("check", "warning", "seen", "do", where="here")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.integers(0, 99)), max_size=80))
def test_each_detection_is_counted_once(sights):
    log = FindingLog(max_places=5)
    for check, place, step in sights:
        log.add(Problem(check, "info", "", "", where=str(place)), step)
    assert sum(f.count for f in log.findings) == len(sights)
    for check in "ab":
        mine = [f for f in log.findings if f.check == check]
        assert len(mine) <= 6
        steps = [step for c, _, step in sights if c == check]
        if steps:
            assert max(f.last_step for f in mine) == max(steps)
    places = {(f.check, f.where) for f in log.findings}
    assert len(places) == len(log.findings)


def test_finding_keeps_first_message_and_steps():
    log = FindingLog()
    log.add(PROBLEM, 3)
    finding = log.add(replace(PROBLEM, message="seen again"), 7)
    assert finding == Finding("check", "warning", "seen", "do", "here", 2, 3, 7)


def test_state_round_trips():
    log, other = FindingLog(), FindingLog()
    log.add(PROBLEM, 3)
    other.load_state(log.state())
    other.add(PROBLEM, 5)
    assert [f.count for f in other.findings] == [2]
    assert [f.count for f in log.findings] == [1]


def test_file_lists_findings(tmp_path):
    log = FindingLog()
    log.add(PROBLEM, 3)
    path = write_findings(tmp_path / "new" / "run", log.findings)
    assert json.loads(path.read_text()) == {
        "findings": [
            {
                "check": "check",
                "severity": "warning",
                "message": "seen",
                "advice": "do",
                "where": "here",
                "count": 1,
                "first_step": 3,
                "last_step": 3,
            }
        ]
    }
    assert [p.name for p in path.parent.iterdir()] == ["findings.json"]


def test_failed_write_keeps_old_file(tmp_path, monkeypatch):
    path = write_findings(tmp_path, [])
    broken = Finding("check", "warning", "seen", "do", "here", object(), 0, 0)
    with pytest.raises(TypeError):
        write_findings(tmp_path, [broken])
    assert json.loads(path.read_text()) == {"findings": []}
    assert [p.name for p in tmp_path.iterdir()] == ["findings.json"]
