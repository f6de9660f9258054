"""Reader for WAV files."""

from __future__ import annotations

import os
import wave
from typing import IO

import numpy as np
from numpy.typing import NDArray

from rnnfast.data.readers import StrPath


def read_wav(source: StrPath | IO[bytes]) -> tuple[NDArray[np.float32], int]:
    """Return the samples of a WAV file of 8 or 16 bits (PCM) and how many there are in a second.

    Parameters
    ----------
    source : path or binary file
        The file, or one that is open for reading, such as a member of a zip archive.

    Returns
    -------
    samples : ndarray of float32 (T,) for one channel, (T, channels) for more
        In [-1, 1): bytes less 128 over 128, 16-bit numbers over 32768.
    rate : int

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no WAV file, is cut short, or has samples of another kind.
    """
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else getattr(source, "name", "the file")
    try:
        with wave.open(source if hasattr(source, "read") else os.fspath(source), "rb") as file:  # type: ignore[arg-type]
            channels, width, rate, count = file.getparams()[:4]
            data = file.readframes(count)
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{name} is not a WAV file of PCM samples: {str(error) or 'it is cut short'}") from None
    if width not in (1, 2):
        raise ValueError(f"{name} must have samples of 8 or 16 bits; got {8 * width}")
    if len(data) != count * channels * width:
        raise ValueError(f"{name} is cut short: it has {len(data)} bytes of {count * channels * width}")
    kind, middle, size = ("u1", 128, 128) if width == 1 else ("<i2", 0, 32768)
    samples: NDArray[np.float32] = np.frombuffer(data, kind).astype(np.float32)
    samples = (samples - np.float32(middle)) / np.float32(size)
    return samples if channels == 1 else samples.reshape(-1, channels), rate
