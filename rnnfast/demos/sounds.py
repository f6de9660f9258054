"""Recordings of spoken digits: from a zip archive, or made up of tones for want of one."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.data import log_mel, read_wav
from rnnfast.demos.common import UserError, told_in_one_line

MELS = 40
RATE = 8000
NAME = re.compile(r"(\d)_(\w+?)_(\d+)\.wav")
# Each digit is two or three tones, each of two frequencies in Hz.
TONES = (
    ((300, 900), (500, 2200), (400, 800)),
    ((600, 1000), (300, 2300)),
    ((350, 2000), (300, 700)),
    ((400, 1500), (300, 2600)),
    ((500, 800), (550, 1400), (350, 1300)),
    ((700, 1200), (350, 2400), (450, 1100)),
    ((350, 2500), (300, 1800)),
    ((500, 1900), (450, 1500), (300, 1200)),
    ((550, 2300), (350, 2700)),
    ((700, 1300), (300, 2100), (300, 1500)),
)


class Recording(NamedTuple):
    """One spoken digit: samples within [-1, 1), which digit, and who speaks."""

    samples: NDArray[np.float32]
    digit: int
    speaker: str


def read_archive(path: Path) -> tuple[list[Recording], int]:
    """Return the recordings of a zip archive and their samples per second, or raise `UserError`.

    Files are called ``DIGIT_SPEAKER_INDEX.wav``; others are not looked at.
    """
    found, rates = [], set()
    try:
        with told_in_one_line(), zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                matched = NAME.fullmatch(name.rpartition("/")[2])
                if matched:
                    with archive.open(name) as file:
                        samples, rate = read_mono(file)
                    rates.add(rate)
                    found.append(Recording(samples, int(matched[1]), matched[2]))
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is not a zip archive: {error}") from error
    if len(found) < 20 or len({r.digit for r in found}) < 2:
        raise UserError(f"{path}: must have at least 20 files DIGIT_SPEAKER_INDEX.wav, of 2 digits; got {len(found)}")
    if len(rates) > 1:
        raise UserError(f"{path}: all files must have one rate; got {', '.join(map(str, sorted(rates)))} a second")
    return found, rates.pop()


def read_mono(source: Path | IO[bytes]) -> tuple[NDArray[np.float32], int]:
    """Return the samples of a WAV file, the mean of its channels, and their rate."""
    samples, rate = read_wav(source)
    return (samples if samples.ndim == 1 else samples.mean(axis=1)), rate


def make_up(count: int, seed: int) -> list[Recording]:
    """Return made-up recordings: tones for each digit, in the pitch, pace and loudness of four voices, with noise."""
    rng = np.random.default_rng(seed)
    voices = {f"voice {k}": (rng.uniform(0.85, 1.2), rng.uniform(0.8, 1.25)) for k in range(4)}
    found = []
    for k in range(count):
        digit, speaker = k % 10, f"voice {k // 10 % 4}"
        pitch, pace = voices[speaker]
        parts = []
        for pair in TONES[digit]:
            t = np.arange(round(RATE * rng.uniform(0.07, 0.11) * pace)) / RATE
            envelope = np.sin(np.pi * np.arange(len(t)) / len(t)) ** 0.5
            own = pitch * rng.uniform(0.95, 1.05)
            parts.append(envelope * sum(np.sin(2 * np.pi * own * f * t + rng.uniform(0, 6)) for f in pair))
        sound = np.concatenate(parts) * rng.uniform(0.1, 0.4)
        sound = sound + rng.uniform(0.005, 0.05) * rng.standard_normal(len(sound))
        found.append(Recording(sound.astype(np.float32), digit, speaker))
    return found


def join(
    recordings: list[Recording], count: int, longest: int, rate: int, rng: np.random.Generator
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]:
    """Return sequences of up to ``longest`` digits of one speaker each, with short pauses, and their digits."""
    by_speaker: dict[str, list[Recording]] = {}
    for recording in recordings:
        by_speaker.setdefault(recording.speaker, []).append(recording)
    groups = list(by_speaker.values())
    sounds, digits = [], []
    for _ in range(count):
        group = groups[rng.integers(len(groups))]
        chosen = [group[k] for k in rng.integers(len(group), size=rng.integers(1, longest + 1))]
        parts: list[Any] = []
        for recording in chosen:
            pause = 1e-3 * rng.standard_normal(rng.integers(0, rate // 5))
            parts += [recording.samples, pause.astype(np.float32)]
        sounds.append(np.concatenate(parts))
        digits.append(np.array([recording.digit for recording in chosen], np.int64))
    return sounds, digits


def features(sounds: list[NDArray[np.float32]], rate: int, hop: float) -> list[NDArray[np.float32]]:
    """Return the log-mel spectrogram of each sound, less the mean of each of its columns: no matter how loud it is."""
    found = []
    for sound in sounds:
        mel = log_mel(sound, rate, MELS, hop=hop, floor=1e-8)
        found.append(mel - mel.mean(axis=0))
    return found
