"""CheckRunner counts consecutive detections and records skipped checks."""

from mml_diagnostics.checks.runner import CheckRunner, NotApplicableError
from mml_diagnostics.finding import Problem


def problem(where="", patience=1):
    return Problem("check", "info", "", "", where=where, patience=patience)


def test_patience_counts_consecutive_detections():
    runner = CheckRunner()
    seen = [["a"], ["b"], ["a", "b"], ["a"], [], ["a"]]
    reported = [
        [p.where for p in runner.run("check", lambda places=places: [problem(w, 2) for w in places])]
        for places in seen
    ]
    assert reported == [[], [], ["b"], ["a"], [], []]
    assert runner.run("check", lambda: [problem("c")]) == [problem("c")]


def test_skipped_checks_are_reported_once():
    runner = CheckRunner()

    def no_graph():
        raise NotApplicableError("no graph")

    for _ in range(2):
        assert runner.run("first", no_graph) == []
        assert runner.run("second", no_graph) == []
        runner.skip("third", "no encoder")
    skips = runner.new_skips()
    assert [(p.where, p.message) for p in skips] == [
        ("no graph", "first, second skipped, because no graph."),
        ("no encoder", "third skipped, because no encoder."),
    ]
    assert runner.new_skips() == []
    runner.skip("first", "another reason")
    assert runner.new_skips() == []
