"""Autocorrelation over time of many series at once, each with itself, and what is read from it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 512  # series transformed at a time: they stay in the processor's cache


@dataclass(frozen=True)
class Spectrum:
    """Autocorrelation of a set of series, by lag.

    Parameters
    ----------
    mean, std
        [T] over the series that move; zeros where none does.
    num_moving, num_series
        How many series are not constant, of how many.
    """

    mean: Tensor
    std: Tensor
    num_moving: int
    num_series: int

    @property
    def correlation_time(self) -> int:
        """The first lag at which the mean is below 1/e; T where it stays above, 0 where nothing moves."""
        if self.num_moving == 0:
            return 0
        below = (self.mean < 1 / math.e).nonzero()
        return int(below[0]) if len(below) else len(self.mean)


def autocorrelation(series: Tensor) -> Tensor:
    r"""Autocorrelation of each series with itself, over time.

    .. math:: r_k = \frac{\sum_{t<T-k} (x_t - \bar x)(x_{t+k} - \bar x)}{\sum_t (x_t - \bar x)^2}

    (Box, Jenkins, Reinsel: "Time Series Analysis", the estimator with the denominator that does not depend
    on the lag, which is between -1 and 1), by fast Fourier transforms of zero-padded series (theorem of
    Wiener and Khinchin): O(T log T) for each.

    Parameters
    ----------
    series
        [T, n], n series of T values.

    Returns
    -------
    Tensor
        [T, n] float32 (float64 for float64), lags 0 to T - 1. Zero at all lags for a series that is constant
        (to within the rounding of its values) or not finite: it says nothing about correlation in time.

    Raises
    ------
    ValueError
        For a shape other than [T, n] with at least one time.
    """
    _check_shape(series)
    chunks = [_transform(series[:, i : i + CHUNK]).T for i in range(0, series.shape[1], CHUNK)]
    return torch.cat(chunks, dim=1) if chunks else series.new_zeros(series.shape)


def summarize_autocorrelation(series: Tensor) -> Spectrum:
    """Mean and standard deviation of :func:`autocorrelation` over the series that move.

    Holds the transforms of 512 series at a time, never those of all.

    Parameters
    ----------
    series
        [T, n].

    Raises
    ------
    ValueError
        As :func:`autocorrelation` does.
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
    r"""Sarle's coefficient :math:`(\gamma^2 + 1) / \kappa` with skewness and (not excess) kurtosis.

    1/3 for a normal distribution, 5/9 for a uniform one, 1 for values that are one of two; see
    Pfister et al. 2013, "Good things peak in pairs", doi:10.3389/fpsyg.2013.00700. 0 for constant values.

    Parameters
    ----------
    values
        Any shape; what is not finite is left out.
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
        raise ValueError(f"series has shape {tuple(series.shape)}; give [T, n], T >= 1 values of n series.")


def _transform(series: Tensor) -> Tensor:
    """Return [n, T] for [T, n]."""
    x = series.T.to(torch.promote_types(series.dtype, torch.float32), memory_format=torch.contiguous_format)
    length = x.shape[1]
    size = x.abs().amax(1, keepdim=True)
    x = x - x[:, :1]  # first, so that the mean of large values does not round small changes away
    x = x - x.mean(1, keepdim=True)
    rounding = size * torch.finfo(x.dtype).eps
    moves = (x.abs().amax(1, keepdim=True) > 2 * rounding) & size.isfinite()
    scale = torch.where(moves, x.square().sum(1, keepdim=True).sqrt(), 1.0)
    x = torch.where(moves, x / scale, 0.0)
    spectrum = torch.fft.rfft(x, n=2 * length)
    r = torch.fft.irfft(spectrum * spectrum.conj(), n=2 * length)[:, :length]
    r[:, 0] = moves[:, 0].to(r.dtype)  # exactly
    return r
