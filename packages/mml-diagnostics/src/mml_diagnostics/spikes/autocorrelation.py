"""Autocorrelation over time of many series, and statistics of it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 512  # number of series per transform, so that they fit into the processor's cache


@dataclass(frozen=True)
class Spectrum:
    """Autocorrelation of a set of series, by lag.

    Parameters
    ----------
    mean, std
        Mean and standard deviation over the series that are not constant, [T]; zeros if all are constant.
    num_moving, num_series
        Number of series that are not constant, and number of all series.
    """

    mean: Tensor
    std: Tensor
    num_moving: int
    num_series: int

    @property
    def correlation_time(self) -> int:
        """First lag at which the mean is below 1/e; T if there is none, 0 if all series are constant."""
        if self.num_moving == 0:
            return 0
        below = (self.mean < 1 / math.e).nonzero()
        return int(below[0]) if len(below) else len(self.mean)


def autocorrelation(series: Tensor) -> Tensor:
    r"""Compute the autocorrelation of each series over time.

    .. math:: r_k = \frac{\sum_{t<T-k} (x_t - \bar x)(x_{t+k} - \bar x)}{\sum_t (x_t - \bar x)^2}

    (Box, Jenkins, Reinsel: "Time Series Analysis"). The denominator of this estimator does not depend on the
    lag, so that its values are between -1 and 1. It is computed by fast Fourier transforms of zero-padded
    series (Wiener-Khinchin theorem), in O(T log T) per series.

    Parameters
    ----------
    series
        n series of T values, [T, n].

    Returns
    -------
    Tensor
        Autocorrelation at lags 0 to T - 1, [T, n] float32 (float64 for float64). A series that is constant
        (within the rounding of its values) or not finite has zeros at all lags, because it has no defined
        correlation.

    Raises
    ------
    ValueError
        If the shape is not [T, n] with T of at least one.
    """
    _check_shape(series)
    chunks = [_transform(series[:, i : i + CHUNK]).T for i in range(0, series.shape[1], CHUNK)]
    return torch.cat(chunks, dim=1) if chunks else series.new_zeros(series.shape)


def summarize_autocorrelation(series: Tensor) -> Spectrum:
    """Compute mean and standard deviation of :func:`autocorrelation` over the series that are not constant.

    At most 512 series are transformed at a time, which limits the memory.

    Parameters
    ----------
    series
        n series of T values, [T, n].

    Raises
    ------
    ValueError
        If the shape is not [T, n] with T of at least one.
    """
    _check_shape(series)
    total, squares = series.new_zeros((2, series.shape[0]), dtype=torch.float64)
    moving = torch.zeros((), dtype=torch.int64, device=series.device)
    for i in range(0, series.shape[1], CHUNK):
        r = _transform(series[:, i : i + CHUNK])
        total += r.sum(0)
        squares += r.square().sum(0)
        moving += (r[:, 0] > 0).sum()
    count = int(moving)
    mean = total / max(count, 1)
    std = (squares / max(count, 1) - mean.square()).clamp_(min=0).sqrt()
    return Spectrum(mean.cpu(), std.cpu(), count, series.shape[1])


def bimodality(values: Tensor) -> float:
    r"""Compute Sarle's coefficient :math:`(\gamma^2 + 1) / \kappa` from skewness and (not excess) kurtosis.

    The coefficient is 1/3 for a normal distribution, 5/9 for a uniform one, and 1 for a distribution of two
    values; see Pfister et al. 2013, "Good things peak in pairs", doi:10.3389/fpsyg.2013.00700. It is 0 for
    constant values.

    Parameters
    ----------
    values
        Values of any shape. Non-finite values are ignored.
    """
    x = values[values.isfinite()].double()
    if x.numel() == 0:
        return 0.0
    x = x - x.mean()
    variance = x.square().mean()
    if not bool(variance > 0):
        return 0.0
    x = x / variance.sqrt()
    return float((x.pow(3).mean().square() + 1) / x.pow(4).mean())


def _check_shape(series: Tensor) -> None:
    if series.ndim != 2 or series.shape[0] == 0:
        raise ValueError(f"series must have shape [T, n] with T >= 1, got {tuple(series.shape)}")


def _transform(series: Tensor) -> Tensor:
    """Return the autocorrelation, [n, T], of series [T, n]."""
    x = series.T.to(torch.promote_types(series.dtype, torch.float32), memory_format=torch.contiguous_format)
    length = x.shape[1]
    size = x.abs().amax(1, keepdim=True)
    x = x - x[:, :1]  # before the mean, so that the mean of large values does not round small changes away
    x = x - x.mean(1, keepdim=True)
    rounding = size * torch.finfo(x.dtype).eps
    moves = (x.abs().amax(1, keepdim=True) > 2 * rounding) & size.isfinite()
    scale = torch.where(moves, x.square().sum(1, keepdim=True).sqrt(), 1.0)
    x = torch.where(moves, x / scale, 0.0)
    spectrum = torch.fft.rfft(x, n=2 * length)
    r = torch.fft.irfft(spectrum * spectrum.conj(), n=2 * length)[:, :length]
    r[:, 0] = moves[:, 0].to(r.dtype)  # exactly 1, or 0 for constant series
    return r
