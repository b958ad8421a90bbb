"""The report opens offline and renders in a real browser."""

import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from matsciml.report.metrics import Classification, Regression
from matsciml.report.page import write_report
from matsciml.report.summary import versions

BROWSER = next((p for p in map(shutil.which, ("chromium", "google-chrome", "chromium-browser")) if p), None)


def report(folder):
    """Write a report of random results."""
    rng = np.random.default_rng(0)
    energy = rng.normal(size=120)
    force = rng.normal(size=3000)
    classes = rng.integers(0, 4, size=200)
    quantities = [
        Regression("energy_per_atom", "eV/atom", energy + rng.normal(size=120) * 0.1, energy, 0.0),
        Regression("force", "eV/Å", force + rng.normal(size=3000) * 0.1, force, 0.0),
        Classification("crystal_system", np.where(rng.random(200) < 0.8, classes, 0), classes, 0),
    ]
    (folder / "metrics.csv").write_text(
        "epoch,step,train_loss,val_loss,val_force_mae\n0,9,1.0,,\n0,9,,0.5,0.3\n1,19,0.5,,\n1,19,,0.2,0.1\n"
    )
    (folder / "findings.json").write_text(
        '{"findings": [{"check": "dead_units", "severity": "warning", "message": "<b>half</b> of all are 0",'
        ' "advice": "lower the learning rate", "where": "", "count": 3, "first_step": 5, "last_step": 50}]}'
    )
    summary = {
        "test": {q.name: q.errors() for q in quantities},
        "run": "demo",
        "epochs": 2,
        "steps": 20,
        "seconds": 12.3,
        "parameters": 12345,
        "peak_memory_mb": 800.0,
        "data": {"name": "emt", "counts": {"train": 10, "test": 3}},
        "hardware": {"device": "cpu"},
        "throughput": {},
        "versions": versions(),
        "config": {"model": {"class_path": "mml_tasks.ForceRegressionTask"}},
    }
    return write_report(folder, summary, quantities)


class _References(HTMLParser):
    """Parser that collects the tags of a page and the addresses that it would fetch."""

    def __init__(self):
        super().__init__()
        self.fetched, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "xlink:href", "data") and not value.startswith(("#", "data:")):
                self.fetched.append(value)


def test_report_fetches_nothing_and_escapes_messages(tmp_path):
    text = report(tmp_path).read_text()
    page = _References()
    page.feed(text)
    assert page.fetched == []
    assert "script" not in page.tags
    assert "&lt;b&gt;half" in text
    assert page.tags.count("svg") == 4


@pytest.mark.skipif(BROWSER is None, reason="Chromium or Chrome is not installed")
def test_report_renders_in_browser(tmp_path):
    path = report(tmp_path)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--hide-scrollbars",
    ]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    shot = tmp_path / "shot.png"
    subprocess.run(
        [BROWSER, *flags, profile, "--window-size=1100,2600", f"--screenshot={shot}", path.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    from matplotlib.image import imread

    image = imread(shot)[..., :3]
    blue = (image[..., 2] - image[..., 0] > 0.3).mean()
    assert blue > 0.005, "the figures are not drawn"
    assert (image.min(axis=(1, 2)) < 0.9).mean() > 0.4, "most of the page is empty"
