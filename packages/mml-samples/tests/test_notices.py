import logging

import pytest
from mml_samples import forget_notices, warn_counted, warn_once

logger = logging.getLogger("test_notices")


@pytest.fixture(autouse=True)
def fresh():
    forget_notices()
    yield
    forget_notices()


def test_warn_once_logs_each_notice_once(caplog):
    for _ in range(3):
        warn_once(logger, "a", "first")
        warn_once(logger, "b", "second")
    assert caplog.messages == ["first", "second"]


def test_warn_counted_logs_at_powers_of_ten(caplog):
    for index in range(101):
        warn_counted(logger, "odd samples", f"sample {index}")
    assert caplog.messages == [
        "sample 0 (odd samples so far: 1)",
        "sample 9 (odd samples so far: 10)",
        "sample 99 (odd samples so far: 100)",
    ]
