"""The results of a run: errors, figures, summary.json and report.html."""

__all__ = ["plots", "predictions", "summary"]
