"""WAV files, and spectrograms against the formulas written out as loops."""

import io
import re
import wave

import numpy as np
import pytest

from rnnfast.data import log_mel, mel_filters, power_spectrogram, read_wav


def write(path, samples, width, rate=8000, channels=1):
    with wave.open(path if hasattr(path, "write") else str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def test_wav(tmp_path):
    path = tmp_path / "a.wav"
    write(path, np.array([-32768, 0, 16384, 32767], "<i2"), 2)
    samples, rate = read_wav(path)
    assert rate == 8000 and samples.dtype == np.float32 and samples.tolist() == [-1, 0, 0.5, 32767 / 32768]
    write(path, np.array([0, 128, 192, 255], np.uint8), 1, 16000)
    samples, rate = read_wav(str(path))
    assert rate == 16000 and samples.tolist() == [-1, 0, 0.5, 127 / 128]
    write(path, np.array([[1, 2], [3, 4]], "<i2"), 2, channels=2)
    assert (read_wav(path)[0] * 32768).tolist() == [[1, 2], [3, 4]]
    memory = io.BytesIO()
    write(memory, np.array([16384], "<i2"), 2)
    memory.seek(0)
    assert read_wav(memory)[0].tolist() == [0.5]


def test_what_is_wrong_with_a_file(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"no sound in it at all, but long enough for a header")
    with pytest.raises(ValueError, match=re.escape(f"{path} is not a WAV file of PCM samples")):
        read_wav(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is not a WAV file of PCM samples: it is cut short"):
        read_wav(path)
    write(path, np.zeros(3, "<i4"), 4)
    with pytest.raises(ValueError, match="must have samples of 8 or 16 bits; got 32"):
        read_wav(path)
    write(path, np.zeros(100, "<i2"), 2)
    path.write_bytes(path.read_bytes()[:-51])
    with pytest.raises(ValueError, match="is cut short: it has 149 bytes of 200"):
        read_wav(path)
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "none.wav")


def slow_power(x, size, step, points):
    found = []
    for start in range(0, len(x) - size + 1, step):
        n = np.arange(size)
        piece = x[start : start + size] * (0.5 - 0.5 * np.cos(2 * np.pi * n / size))
        row = [abs(sum(piece * np.exp(-2j * np.pi * k * n / points))) ** 2 for k in range(points // 2 + 1)]
        found.append(row)
    return np.array(found)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_power_spectrogram_is_its_formula(dtype, rng):
    x = rng.standard_normal(130).astype(dtype)
    found = power_spectrogram(x, 1000)  # 25 samples every 10
    assert found.dtype == dtype and found.shape == (11, 17)
    np.testing.assert_allclose(found, slow_power(x, 25, 10, 32), rtol=0, atol=1e-11 if dtype is np.float64 else 2e-4)
    np.testing.assert_allclose(
        power_spectrogram(x, 1000, 0.02, 0.007, 45),
        slow_power(x, 20, 7, 45),
        rtol=0,
        atol=1e-11 if dtype is np.float64 else 2e-4,
    )
    short = power_spectrogram(x[:7], 1000)
    np.testing.assert_array_equal(short, power_spectrogram(np.concatenate([x[:7], np.zeros(18, dtype)]), 1000))


@pytest.mark.parametrize(
    ("num_mels", "points", "low", "high"), [(10, 256, 0.0, None), (5, 200, 100.0, 3000.0), (1, 64, 0, 500)]
)
def test_mel_filters_are_their_formula(num_mels, points, low, high):
    rate = 8000
    found = mel_filters(num_mels, points, rate, low, high)
    top = rate / 2 if high is None else high

    def mel(f):
        return 2595 * np.log10(1 + f / 700)

    def hertz(m):
        return 700 * (10 ** (m / 2595) - 1)

    edges = [hertz(mel(low) + (mel(top) - mel(low)) * k / (num_mels + 1)) for k in range(num_mels + 2)]
    assert found.shape == (points // 2 + 1, num_mels)
    for row in range(points // 2 + 1):
        f = row * rate / points
        for k in range(num_mels):
            a, b, c = edges[k : k + 3]
            expected = (f - a) / (b - a) if a <= f <= b else (c - f) / (c - b) if b < f <= c else 0.0
            assert found[row, k] == pytest.approx(expected, abs=1e-12)


def test_log_mel():
    rate = 8000
    t = np.arange(rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 1000 * t)
    mel = log_mel(tone, rate, 40)
    assert mel.shape == (98, 40) and mel.dtype == np.float64
    expected = np.log(np.maximum(power_spectrogram(tone, rate) @ mel_filters(40, 256, rate), 1e-10))
    np.testing.assert_array_equal(mel, expected)
    loudest = mel_filters(40, 256, rate)[32].argmax()  # 1000 Hz is bin 32
    assert (mel.argmax(axis=1) == loudest).all()
    silent = log_mel(np.zeros(400, np.float32), rate)
    np.testing.assert_allclose(silent, np.log(1e-10), rtol=1e-6)
    assert silent.dtype == np.float32
    assert log_mel(tone, rate, 12, fft_size=201, floor=1e-3).min() == np.log(1e-3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: log_mel(np.zeros((2, 9)), 8000), ValueError, "samples must have shape (S,); got (2, 9)"),
        (lambda: log_mel(["a"], 8000), TypeError, "samples must hold real numbers"),
        (lambda: log_mel(np.zeros(9), 0), ValueError, "rate must lie in (0, inf)"),
        (lambda: log_mel(np.zeros(9), 8000, floor=0), ValueError, "floor must lie in (0, inf)"),
        (lambda: log_mel(np.zeros(9), 8000, high=5000), ValueError, "high must lie in (0, 4000]; got 5000"),
        (lambda: mel_filters(3, 64, 8000, 500, 400), ValueError, "low must lie in [0, 400); got 500"),
        (lambda: mel_filters(0, 64, 8000), ValueError, "num_mels must be at least 1"),
        (lambda: power_spectrogram(np.zeros(9), 100, 0.01), ValueError, "window and hop must have at least 2 and 1"),
        (lambda: power_spectrogram(np.zeros(9), 8000, fft_size=100), ValueError, "fft_size must be at least the 200"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        call()
