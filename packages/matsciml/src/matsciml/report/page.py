"""`report.html`: one file that shows the results of a run and opens offline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from matsciml.report.metrics import Quantity
from matsciml.units import SCALE, SPLITS


def write_report(directory: Path, summary: dict[str, Any], quantities: Sequence[Quantity]) -> Path:
    """Write `<directory>/report.html`.

    Parameters
    ----------
    directory
        Directory of the run. Its metrics.csv and findings.json are included if they exist.
    summary
        Contents of summary.json.
    quantities
        Predictions and labels, for the figures.

    Returns
    -------
    Path
        Path of the report.
    """
    from matsciml.report.plots import figures, learning_curves, read_metrics

    series = read_metrics(directory / "metrics.csv")
    curves = learning_curves(series) if any(k.startswith(("train_", "val_")) for k in series) else ""
    environment = Environment(
        loader=PackageLoader("matsciml", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    html = environment.get_template("report.html.jinja").render(
        summary=summary,
        rows=[_row(name, errors) for name, errors in summary["test"].items()],
        curves=Markup(curves),
        figures={name: Markup(svg) for name, svg in figures(quantities).items()},
        findings=read_findings(directory),
        title=_title(summary["config"]),
        data=_data_facts(summary["data"]),
        config=yaml.safe_dump(summary["config"], sort_keys=False, allow_unicode=True),
    )
    path = directory / "report.html"
    partial = path.with_suffix(".partial")
    partial.write_text(html, encoding="utf-8")
    partial.replace(path)
    return path


def read_findings(directory: Path) -> list[dict[str, Any]]:
    """Return the findings of the diagnostics, sorted from errors to infos.

    Parameters
    ----------
    directory
        Directory of the run.
    """
    path = directory / "findings.json"
    if not path.is_file():
        return []
    findings: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["findings"]
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda f: order.get(f["severity"], 3))


def _title(config: dict[str, Any]) -> str:
    """Return a title from the class names of the task and its encoder."""
    model = config.get("model") or {}
    encoder = (model.get("init_args") or {}).get("encoder")
    encoder = encoder.get("class_path", "") if isinstance(encoder, dict) else ""
    names = [path.split(".")[-1] for path in (model.get("class_path", "model"), encoder) if path]
    return " with ".join(names)


def _data_facts(about: dict[str, Any]) -> dict[str, Any]:
    """Convert the data module's description to table rows."""
    facts = {key: value for key, value in about.items() if key not in ("counts", "source", "path") and value}
    counts = about.get("counts", {})
    facts["structures"] = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if split in counts)
    return facts | {k: v for k, v in about.get("source", {}).items() if isinstance(v, str)}


def _row(name: str, errors: dict[str, Any]) -> dict[str, str]:
    """Format one quantity for the table."""
    count = f"{errors['count']:,}"
    if errors.get("missing"):
        count += f"; missing in {errors['missing']:,} structures"
    if not errors["count"]:
        row = dict.fromkeys(("detail", "baseline", "baseline_name", "verdict"), "")
        return row | {"name": name.replace("_", " "), "model": "no labels", "count": count}
    if "accuracy" in errors:
        gain = errors["accuracy"] - errors["baseline_accuracy"]
        return {
            "name": name.replace("_", " "),
            "model": f"{errors['accuracy']:.1%} correct",
            "detail": f"{errors['balanced_accuracy']:.1%} balanced over classes",
            "baseline": f"{errors['baseline_accuracy']:.1%} correct",
            "baseline_name": f"most frequent class, {errors.get('baseline_name', errors['baseline'])}",
            "verdict": f"{gain:+.1%} compared with always predicting the most frequent class",
            "count": count,
        }
    factor, unit = SCALE.get(errors["unit"], (1.0, errors["unit"]))
    ratio = errors["mae"] / errors["baseline_mae"] if errors["baseline_mae"] else float("nan")
    return {
        "name": name.replace("_", " "),
        "model": f"MAE {factor * errors['mae']:.4g} {unit}",
        "detail": f"RMSE {factor * errors['rmse']:.4g}, R² {errors['r2']:.4f}",
        "baseline": f"MAE {factor * errors['baseline_mae']:.4g} {unit}",
        "baseline_name": "zero" if errors["baseline"] == 0 else "training mean",
        "verdict": f"{ratio:.0%} of the baseline's error",
        "count": count,
    }
