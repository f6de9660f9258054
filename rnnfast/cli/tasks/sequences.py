"""The tasks ``classify`` and ``regress``: one answer for each text or sequence of numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.cli import files
from rnnfast.cli.common import UserError, add_held_out, add_training, network, positive, settings, store
from rnnfast.cli.tasks.words import Texts, hold_out
from rnnfast.data.scaling import Standardizer
from rnnfast.losses import MeanSquared, SoftmaxCrossEntropy
from rnnfast.metrics import Accuracy
from rnnfast.tasks.networks import build
from rnnfast.training.feeds import Data

EXAMPLES = {
    "classify": """\
examples:
  python -m rnnfast train classify --data reviews.csv --text review --label stars --output reviews
  python -m rnnfast train classify --data images.npy --answers labels.npy --cell gru
  python -m rnnfast train classify --data strokes.jsonl --sequence points --label letter

CSV has a header, JSONL an object in each line; .npy holds (samples, steps) or (samples, steps, features), and a second
file the labels (samples,).
""",
    "regress": """\
examples:
  python -m rnnfast train regress --data sensors.npy --answers wear.npy --output wear
  python -m rnnfast train regress --data reviews.csv --text review --value stars

CSV has a header, JSONL an object in each line; .npy holds (samples, steps) or (samples, steps, features), and a second
file the numbers, (samples,) or (samples, outputs).
""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the options of ``classify`` or ``regress``."""
    answer = "--label" if name == "classify" else "--value"
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, metavar="FILE", help="CSV with a header, JSONL or .npy")
    kinds = data.add_mutually_exclusive_group()
    kinds.add_argument("--text", metavar="NAME", help="the column of texts")
    kinds.add_argument("--sequence", metavar="NAME", help="the column of lists of numbers, in JSONL")
    data.add_argument(answer, metavar="NAME", dest="answer", help="the column of answers")
    data.add_argument("--answers", type=Path, metavar="FILE", help="a .npy file of answers, where the data are one")
    data.add_argument(
        "--tokens", choices=("word", "char"), default="word", help="what texts are cut into (%(default)s)"
    )
    data.add_argument(
        "--vocabulary",
        type=positive("--vocabulary"),
        default=20_000,
        metavar="N",
        help="most frequent tokens (%(default)s)",
    )
    data.add_argument(
        "--steps", type=positive("--steps"), metavar="N", help="read at most so many tokens of a text (all)"
    )
    data.add_argument("--bidirectional", action="store_true", help="read in both directions")
    data.add_argument(
        "--pooling",
        choices=("auto", "last", "mean", "max"),
        default="auto",
        help="how outputs become one vector (auto: max for texts, mean in two directions, else last)",
    )
    add_held_out(parser, 32)
    add_training(parser, 20, 64, f"rnnfast-{name}")


def train(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    classify = args.task == "classify"
    where = {"text": args.text, "sequence": args.sequence, "answer": args.answer}
    texts = None if args.text is None else Texts(args.tokens, args.steps)
    raw = _read_inputs(args.data, where)
    answers = _read_answers(args.data, args.answers, where, classify)
    if len(answers) != len(raw):
        raise UserError(f"there must be one answer for each of {len(raw)} sequences; got {len(answers)}")
    task: dict[str, Any] = {"kind": args.task, **where}
    scaler: Standardizer | None = None
    if classify:
        classes, target = np.unique(answers, return_inverse=True)
        if len(classes) < 2:
            raise UserError(f"there must be at least two different labels; got {classes.tolist()}")
        task["classes"], outputs = classes.tolist(), len(classes)
    else:
        scaler = Standardizer().fit(answers)
        target = scaler.transform(answers).astype(np.float32)
        task["targets"], outputs = scaler.state_dict(), answers.shape[1]
    train_rows, held_rows = hold_out(len(raw), args.validation, args.seed, target if classify else None)
    options = network(args, bidirectional=args.bidirectional, pooling=args.pooling, seed=args.seed)
    if texts is not None:
        texts.learn([raw[k] for k in train_rows], args.vocabulary)
        x: Data = texts.encode(raw)
        task["texts"] = texts.state_dict()
        if args.pooling == "auto":
            options["pooling"] = "max"
        model = build(len(texts.vocabulary), outputs, embedding=min(64, args.hidden), **options)
    else:
        steps = Standardizer().fit(np.concatenate([raw[k] for k in train_rows]))
        x = [steps.transform(item) for item in raw] if isinstance(raw, list) else steps.transform(raw)
        task["steps"] = steps.state_dict()
        model = build(raw[0].shape[1], outputs, **options)
    what = f"{len(classes)} labels" if classify else f"{outputs} number{'s' * (outputs > 1)} each"
    print(f"data: {len(raw):,} sequences, {what}, {len(held_rows):,} held out")
    held = None if not len(held_rows) else (_take(x, held_rows), target[held_rows])
    metrics = [Accuracy()] if classify else []
    loss = SoftmaxCrossEntropy() if classify else MeanSquared()
    training = settings(args, batch_size=args.batch, patience=args.patience)
    history = training.fit(model, loss, _take(x, train_rows), target[train_rows], held, metrics)
    if held is not None:
        measured = training.trainer(model, loss, metrics).evaluate(held[0], held[1])
        if classify:
            chance = np.bincount(target[held_rows]).max() / len(held_rows)
            print(f"held out: {measured['accuracy']:.1%} right; always the most frequent label: {chance:.1%}")
        elif scaler is not None:
            spread = float(np.sqrt(np.mean(np.square(target[held_rows] - target[train_rows].mean(axis=0)))))
            print(f"held out: RMSE {np.sqrt(measured['loss']):.3g} standard deviations; always the mean: {spread:.3g}")
    return store(model, task, args, history)


def predict(model: Any, task: dict[str, Any], args: argparse.Namespace) -> files.Table:
    """Return a row for each sequence: its label and how likely that is, or its numbers."""
    out = _outputs(model, task, _read_inputs(args.data, task))
    if task["kind"] == "regress":
        names = ["prediction"] if out.shape[1] == 1 else [f"prediction_{k}" for k in range(out.shape[1])]
        return files.Table(
            names, [[float(f"{v:.7g}") for v in row] for row in out], out[:, 0] if out.shape[1] == 1 else out
        )
    best = out.argmax(axis=1)
    classes = task["classes"]
    rows = [[classes[k], round(float(row[k]), 6)] for k, row in zip(best, out, strict=True)]
    return files.Table(["label", "probability"], rows, out)


def evaluate(model: Any, task: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return how right the answers are."""
    raw = _read_inputs(args.data, task)
    answers = _read_answers(args.data, args.answers, task, task["kind"] == "classify")
    if len(answers) != len(raw):
        raise UserError(f"there must be one answer for each of {len(raw)} sequences; got {len(answers)}")
    out = _outputs(model, task, raw)
    if task["kind"] == "regress":
        if answers.shape != out.shape:
            raise UserError(f"answers must have shape {out.shape}; got {answers.shape}")
        wrong = answers - out
        spread = np.square(answers - answers.mean(axis=0)).sum()
        r2 = 1 - np.square(wrong).sum() / spread if spread else float("nan")
        found = {"mae": np.abs(wrong).mean(), "rmse": np.sqrt(np.square(wrong).mean()), "r2": r2}
        return {"sequences": len(out), **{name: float(value) for name, value in found.items()}}
    classes = task["classes"]
    return class_measures(classes, number_of(classes, answers.tolist()), out)


def class_measures(classes: list[Any], truth: NDArray[np.int64], chances: NDArray[Any]) -> dict[str, Any]:
    """Return the accuracy, the cross-entropy, and precision and recall of each class."""
    best = chances.argmax(axis=1)
    likely = np.maximum(chances[np.arange(len(truth)), truth], 1e-30)
    by_class: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(classes):
        both = float(np.sum((best == k) & (truth == k)))
        given, asked = int(np.sum(truth == k)), int(np.sum(best == k))
        precision, recall = both / asked if asked else 0.0, both / given if given else 0.0
        total = precision + recall
        f1 = 2 * precision * recall / total if total else 0.0
        by_class[str(name)] = {"precision": precision, "recall": recall, "f1": f1, "count": given}
    accuracy, loss = float(np.mean(best == truth)), float(-np.log(likely).mean())
    return {"count": len(truth), "accuracy": accuracy, "loss": loss, "label": by_class}


def number_of(classes: list[Any], labels: list[Any]) -> NDArray[np.int64]:
    """Return the places of labels among the classes; a label that training did not see is an error."""
    places = {name: k for k, name in enumerate(classes)}
    for k, label in enumerate(labels):
        if label not in places:
            raise UserError(
                f"answer {k + 1} is {label!r}, which is not among the labels: {', '.join(map(str, classes))}"
            )
    return np.array([places[label] for label in labels], np.int64)


def softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities over the last axis."""
    e = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _outputs(model: Any, task: dict[str, Any], raw: Any) -> NDArray[np.float64]:
    """Return probabilities (N, classes), or numbers (N, outputs)."""
    from rnnfast.optimizers import SGD
    from rnnfast.trainer import Trainer

    if task.get("texts") is not None:
        x: Data = Texts.from_state_dict(task["texts"]).encode(raw)
    else:
        steps = Standardizer.from_state_dict(task["steps"])
        wanted, got = np.size(np.asarray(steps.offset)), raw[0].shape[-1]
        if got != wanted:
            raise UserError(f"the data must have {wanted} features in each step, as in training; got {got}")
        x = [steps.transform(item) for item in raw] if isinstance(raw, list) else steps.transform(raw)
    loss = SoftmaxCrossEntropy() if task["kind"] == "classify" else MeanSquared()
    out = np.asarray(Trainer(model, loss, SGD(lr=1.0)).predict(x, batch_size=256))
    if task["kind"] == "classify":
        return softmax(out)
    return np.asarray(Standardizer.from_state_dict(task["targets"]).inverse_transform(out.astype(np.float64)))


def _read_inputs(path: Path, where: dict[str, Any]) -> Any:
    if where["text"] is not None:
        return files.read_texts(path, where["text"])
    return files.read_sequences(path, where["sequence"])


def _read_answers(path: Path, answers: Path | None, where: dict[str, Any], classify: bool) -> NDArray[Any]:
    """Return labels (N,), or numbers (N, outputs)."""
    if answers is not None:
        if classify:
            return files.read_labels(answers)
        array = files.read_array(answers).astype(np.float64)
        if array.ndim not in (1, 2):
            raise UserError(f"{answers} must have shape (samples,) or (samples, outputs); got {array.shape}")
        return array[:, None] if array.ndim == 1 else array
    if where["answer"] is None:
        name = "--label" if classify else "--value"
        raise UserError(f"the answers are missing: {name} NAME for a column of {path.name}, or --answers FILE.npy")
    if not classify:
        return files.read_numbers(path, [where["answer"]], fill=False)
    labels = []
    for line, value in files.read_column(path, where["answer"]):
        label = value.strip() if isinstance(value, str) else value
        if label == "" or isinstance(label, (list, dict, float)) or label is None:
            raise UserError(f"{path}, line {line}: {value!r:.40} is no label; a label is a text or an integer")
        labels.append(label)
    if len({type(label) for label in labels}) > 1:
        labels = [str(label) for label in labels]
    return np.array(labels)


def _take(x: Data, rows: NDArray[np.int64]) -> Data:
    return x[rows] if isinstance(x, np.ndarray) else [x[k] for k in rows]
