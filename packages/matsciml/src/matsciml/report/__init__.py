"""The results of a run: errors, figures, summary.json and report.html."""

__all__ = ["json_values", "plots", "predictions", "summary"]
