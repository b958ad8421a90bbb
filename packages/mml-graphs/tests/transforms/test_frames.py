import numpy as np
import pytest
from mml_graphs.transforms._frames import find_frames

CLOUD = np.array([[0.0, 0, 0], [1.1, 0, 0], [0, 1.7, 0], [0, 0, 2.9]])
NUMBERS = np.ones(4, dtype=int)


@pytest.mark.parametrize(
    ("keep_z", "proper", "count"), [(False, False, 8), (False, True, 4), (True, False, 4), (True, True, 2)]
)
def test_frames_align_principal_axes(keep_z, proper, count):
    frames = find_frames(CLOUD, NUMBERS, None, keep_z, proper)
    assert frames.every.shape == (count, 3, 3)
    assert not frames.degenerate
    for frame in frames.every:
        np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-12)
        turned = (CLOUD - frames.center) @ frame
        size = 2 if keep_z else 3
        covariance = (turned.T @ turned)[:size, :size]
        np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-12)
        if proper:
            assert np.linalg.det(frame) > 0
    assert any((frames.first == frame).all() for frame in frames.every)


def test_equal_moments_are_degenerate():
    cube = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    assert find_frames(cube, np.ones(8, dtype=int), None, False, False).degenerate
