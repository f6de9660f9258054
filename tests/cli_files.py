"""Small files for the tests of the command line, and what they are asked for."""

import csv
import json
from pathlib import Path

import numpy as np

FEW = ["--epochs", 2, "--hidden", 4, "--quiet"]
FORECAST = ["train", "forecast", "--window", "4", "--target", "load", "--data"]
WALKS = np.random.default_rng(0).standard_normal((60, 8, 2)).cumsum(axis=1).astype(np.float32)


def write_csv(path, names, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


def write_jsonl(path, items):
    Path(path).write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")


def table(text):
    return list(csv.DictReader(text.splitlines()))


def series(steps=120):
    t = np.arange(steps)
    return 20 + 5 * np.sin(t / 3), t % 7, np.cos(t / 3)


def write_series(path="s.csv", steps=120):
    load, day, heat = series(steps)
    write_csv(path, ["load", "day", "heat"], zip(load, day, heat, strict=True))
