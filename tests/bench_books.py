"""Books of results that were never measured, for tests of the benchmark."""

from bench import cases
from bench.results import Book, Result

TINY = cases.Case("LSTM", "training", steps=3, batch=2, input_size=4, hidden_size=5)
STREAM = cases.Case("GRU", "stream", steps=1, batch=1, input_size=4, hidden_size=5)


def book(*found, **machine):
    about = {"cpu": "A", "cpus": 2, "isa": "avx2", "python": "3", "numpy": "2", **machine}
    return Book(about, ["python", "-m", "bench"], {"rounds": 3, "seconds": 0.1, "threads": [1]}, {}, {}, list(found))


def result(case=TINY, threads=1, limit=0.5, **samples):
    return Result(case, threads, samples, {}, {"seconds": limit, "bound": "arithmetic", "parts": {}})


def write(folder, kept):
    path = folder / "old.json"
    kept.save(path)
    return path
