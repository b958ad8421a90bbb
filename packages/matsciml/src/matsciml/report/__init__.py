"""Results of a run: metrics, plots, summary and the HTML page."""
