"""The task ``tag``: a label for every word of a sentence."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.cli import files
from rnnfast.cli.common import UserError, add_held_out, add_training, network, settings, store
from rnnfast.cli.tasks.sequences import class_measures, number_of, softmax
from rnnfast.cli.tasks.words import UNKNOWN, hold_out
from rnnfast.data.vocabulary import WordVocabulary
from rnnfast.losses import SoftmaxCrossEntropy
from rnnfast.metrics import Accuracy
from rnnfast.optimizers import SGD
from rnnfast.tasks.networks import build
from rnnfast.trainer import Trainer

EXAMPLES = {
    "tag": """\
examples:
  python -m rnnfast train tag --data sentences.jsonl --output tagger
  python -m rnnfast train tag --data treebank.conllu --tokens 2 --tags 4
  python -m rnnfast predict tagger.safetensors new.jsonl --format jsonl

JSONL has {"tokens": ["the", ...], "tags": ["DET", ...]} in each line. Other files have a token in each line, its tag in
another column (counted from 1), and an empty line between sentences.
"""
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Add this task's options."""
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, metavar="FILE", help="JSONL, or a token in each line")
    data.add_argument("--tokens", metavar="NAME", help="field or column of the tokens (tokens, or 1)")
    data.add_argument("--tags", metavar="NAME", help="field or column of the tags (tags, or 2)")
    data.add_argument("--lower", action="store_true", help="do not tell upper from lower case")
    data.add_argument("--forwards", action="store_true", help="read forwards only instead of in both directions")
    add_held_out(parser, 16)
    add_training(parser, 15, 64, "rnnfast-tagger")


def train(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    by_name = files.kind_of(args.data) == "jsonl"
    tokens, tags = args.tokens or ("tokens" if by_name else "1"), args.tags or ("tags" if by_name else "2")
    sentences, labels = files.read_sentences(args.data, tokens, tags)
    assert labels is not None
    classes = sorted({label for row in labels for label in row})
    if len(classes) < 2:
        raise UserError(f"there must be at least two different tags; got {classes}")
    places = {name: k for k, name in enumerate(classes)}
    target = [np.array([places[label] for label in row], np.int64) for row in labels]
    rows, held_rows = hold_out(len(sentences), args.validation, args.seed)
    vocabulary = _learn([sentences[k] for k in rows], args.lower)
    x = _encode(sentences, vocabulary, args.lower)
    model = build(
        len(vocabulary),
        len(classes),
        embedding=min(64, args.hidden),
        bidirectional=not args.forwards,
        seed=args.seed,
        **network(args),
    )
    count = sum(map(len, sentences))
    print(f"data: {len(sentences):,} sentences, {count:,} words, {len(classes)} tags, {len(held_rows):,} held out")
    held = None if not len(held_rows) else ([x[k] for k in held_rows], [target[k] for k in held_rows])
    training, loss = settings(args, batch_size=args.batch, patience=args.patience), SoftmaxCrossEntropy()
    history = training.fit(model, loss, [x[k] for k in rows], [target[k] for k in rows], held, [Accuracy()])
    if held is not None:
        right = training.trainer(model, loss, [Accuracy()]).evaluate(held[0], held[1])["accuracy"]
        usual = _usual([sentences[k] for k in rows], [labels[k] for k in rows])
        guesses = [
            usual.get(w, usual[""]) == t for k in held_rows for w, t in zip(sentences[k], labels[k], strict=True)
        ]
        print(f"held out: {right:.1%} of words right; with the most frequent tag of each word: {np.mean(guesses):.1%}")
    where = {"tokens": tokens, "tags": tags, "jsonl": by_name, "lower": args.lower}
    task = {"kind": "tag", **where, "classes": classes, "vocabulary": vocabulary.state_dict()}
    return store(model, task, args, history)


def predict(model: Any, task: dict[str, Any], args: argparse.Namespace) -> files.Table:
    """Return a row for each sentence: its words and their tags."""
    sentences, _ = files.read_sentences(args.data, _field(task, args.data, "tokens"), None)
    chances = _outputs(model, task, sentences)
    tags = [[task["classes"][k] for k in scores.argmax(axis=1)] for scores in chances]
    rows: list[list[Any]] = [list(pair) for pair in zip(sentences, tags, strict=True)]
    return files.Table(["tokens", "tags"], rows, np.concatenate(chances))


def evaluate(model: Any, task: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return how many words get their tag, and precision and recall of each tag."""
    if args.answers is not None:
        raise UserError("--answers is for .npy files: sentences have their tags beside them")
    fields = [_field(task, args.data, name) for name in ("tokens", "tags")]
    sentences, labels = files.read_sentences(args.data, fields[0], fields[1])
    assert labels is not None
    truth = number_of(task["classes"], [label for row in labels for label in row])
    return class_measures(task["classes"], truth, np.concatenate(_outputs(model, task, sentences)))


def _field(task: dict[str, Any], path: Path, name: str) -> str:
    """Return the field or column that the training read, or the usual one in a file of another kind."""
    if (files.kind_of(path) == "jsonl") == task["jsonl"]:
        return str(task[name])
    return {"tokens": "1", "tags": "2"}[name] if task["jsonl"] else name


def _learn(sentences: list[list[str]], lower: bool) -> WordVocabulary:
    """Return the vocabulary of words that come twice; those that come once stand for all that are unknown."""
    counts = Counter(word.casefold() if lower else word for words in sentences for word in words)
    kept = [word for word, count in counts.items() if count > 1 and word != UNKNOWN]
    return WordVocabulary([UNKNOWN, *sorted(kept, key=lambda word: (-counts[word], word))], UNKNOWN)


def _encode(sentences: list[list[str]], vocabulary: WordVocabulary, lower: bool) -> list[NDArray[np.int64]]:
    return [vocabulary.encode([word.casefold() if lower else word for word in words]) for words in sentences]


def _outputs(model: Any, task: dict[str, Any], sentences: list[list[str]]) -> list[NDArray[np.float64]]:
    vocabulary = WordVocabulary.from_state_dict(task["vocabulary"])
    x = _encode(sentences, vocabulary, task["lower"])
    return [softmax(out) for out in Trainer(model, SoftmaxCrossEntropy(), SGD(lr=1.0)).predict(x, batch_size=128)]


def _usual(sentences: list[list[str]], labels: list[list[str]]) -> dict[str, str]:
    """Return the most frequent tag of each word, and of all words under the empty one."""
    counts: dict[str, Counter[str]] = {"": Counter()}
    for words, tags in zip(sentences, labels, strict=True):
        for word, tag in zip(words, tags, strict=True):
            counts.setdefault(word, Counter())[tag] += 1
            counts[""][tag] += 1
    return {word: found.most_common(1)[0][0] for word, found in counts.items()}
