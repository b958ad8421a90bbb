import platform
import sys

import pytest


@pytest.fixture(scope="session")
def dgl():
    """DGL itself: missing where it could be there, it fails the test."""
    if sys.version_info >= (3, 12) or (sys.platform, platform.machine()) == ("linux", "aarch64"):
        pytest.skip("DGL has wheels for Python 3.11 and earlier only, and none for Linux on ARM")
    from mml_graphs.libraries.import_dgl import import_dgl

    return import_dgl()


@pytest.fixture(scope="session", params=["pyg", "dgl"])
def library(request):
    """Each graph library by its name."""
    if request.param == "dgl":
        request.getfixturevalue("dgl")
    return request.param
