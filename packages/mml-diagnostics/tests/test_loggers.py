"""Scalars reach every logger."""

from mml_diagnostics.loggers import log_scalars
from pytorch_lightning.loggers import CSVLogger


def test_all_loggers_and_none(make_trainer, tmp_path):
    loggers = [CSVLogger(tmp_path, name="a"), CSVLogger(tmp_path, name="b")]
    log_scalars(make_trainer(logger=loggers), {"x": 1.5}, step=7)
    assert [logger.experiment.metrics for logger in loggers] == [[{"x": 1.5, "step": 7}]] * 2
    log_scalars(make_trainer(logger=False), {"x": 1.5}, step=7)
