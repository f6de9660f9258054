"""Spectrograms: sound as a sequence of vectors, a step every few milliseconds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import check_floating, check_number, check_size

FLOOR = 1e-10


def power_spectrogram(
    samples: Any, rate: float, window: float = 0.025, hop: float = 0.010, fft_size: int | None = None
) -> NDArray[Any]:
    """Return ``|FFT|^2`` of overlapping pieces of a signal, each under a Hann window.

    Parameters
    ----------
    samples : array_like (S,)
        The signal. float64 stays, all else becomes float32; integers are taken as they are.
    rate : float
        Samples in a second.
    window, hop : float, default 0.025 and 0.010
        Seconds of a piece, and from the start of one to that of the next; rounded to whole samples.
    fft_size : int, optional
        Points of the transform, at least those of the window; the next power of two if not given.

    Returns
    -------
    ndarray (T, fft_size // 2 + 1)
        A signal shorter than a window is filled up with zeros to one; samples past the last whole piece are left out.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind, or a window has less than two samples.
    """
    x = check_floating("samples", samples, (("S",),))
    rate = check_number("rate", rate, 0, above=True)
    size = round(check_number("window", window, 0, above=True) * rate)
    step = round(check_number("hop", hop, 0, above=True) * rate)
    if size < 2 or step < 1:
        raise ValueError(f"window and hop must have at least 2 and 1 samples; got {size} and {step}")
    points = 1 << (size - 1).bit_length() if fft_size is None else check_size("fft_size", fft_size)
    if points < size:
        raise ValueError(f"fft_size must be at least the {size} samples of a window; got {points}")
    if len(x) < size:
        x = np.concatenate([x, np.zeros(size - len(x), x.dtype)])
    pieces = np.lib.stride_tricks.sliding_window_view(x, size)[::step]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(x.dtype)
    spectrum = np.fft.rfft(pieces * hann, points, axis=1)
    power: NDArray[Any] = (spectrum.real**2 + spectrum.imag**2).astype(x.dtype)
    return power


def mel_filters(
    num_mels: int, fft_size: int, rate: float, low: float = 0.0, high: float | None = None
) -> NDArray[np.float64]:
    """Return triangular filters, equally wide on the mel scale: ``mel = 2595 log10(1 + f / 700)``.

    Filter k rises from 0 at the k-th of ``num_mels + 2`` frequencies equally far apart in mel between ``low`` and
    ``high`` to 1 at the next, and falls to 0 at the one after that, linearly in Hz.

    Parameters
    ----------
    num_mels : int
        How many.
    fft_size : int
        Points of the transform.
    rate : float
        Samples in a second.
    low, high : float, default 0 and half the rate
        In Hz.

    Returns
    -------
    ndarray of float64 (fft_size // 2 + 1, num_mels)

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind or range.
    """
    num_mels, fft_size = check_size("num_mels", num_mels), check_size("fft_size", fft_size, 2)
    rate = check_number("rate", rate, 0, above=True)
    high = rate / 2 if high is None else check_number("high", high, 0, rate / 2, above=True)
    low = check_number("low", low, 0, high, below=True)
    first, last = (2595 * math.log10(1 + end / 700) for end in (low, high))
    edges = 700 * (10 ** (np.linspace(first, last, num_mels + 2) / 2595) - 1)
    bins = np.arange(fft_size // 2 + 1)[:, None] * rate / fft_size
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return filters


def log_mel(
    samples: Any,
    rate: float,
    num_mels: int = 40,
    *,
    window: float = 0.025,
    hop: float = 0.010,
    fft_size: int | None = None,
    low: float = 0.0,
    high: float | None = None,
    floor: float = FLOOR,
) -> NDArray[Any]:
    """Return the log-mel spectrogram of a signal: ``log(max(power_spectrogram @ mel_filters, floor))``.

    Parameters
    ----------
    samples, rate, window, hop, fft_size
        As for `power_spectrogram`.
    num_mels, low, high
        As for `mel_filters`.
    floor : float, default 1e-10
        What silence counts as.

    Returns
    -------
    ndarray (T, num_mels) of the signal's float type
        `Standardizer` brings it to mean 0 and deviation 1, by columns over the training data.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind or range.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.data import log_mel
    >>> log_mel(np.sin(np.arange(8000)), rate=8000).shape      # one second: a step every 10 ms
    (98, 40)
    """
    least = check_number("floor", floor, 0, above=True)
    power = power_spectrogram(samples, rate, window, hop, fft_size)
    points = 2 * (power.shape[1] - 1) if fft_size is None else int(fft_size)
    filters = mel_filters(num_mels, points, rate, low, high).astype(power.dtype)
    mel: NDArray[Any] = np.log(np.maximum(power @ filters, power.dtype.type(least)))
    return mel
