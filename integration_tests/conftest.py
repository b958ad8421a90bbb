"""Fixtures of several integration tests."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Run a test with one thread, because threads slow small models down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
