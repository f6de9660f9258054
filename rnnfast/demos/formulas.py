"""Formulas of logic: making them up, writing, reading and working them out.

A formula is a truth value, 0 or 1, or a tuple of an operator's number and its operands; ``& | ^ !`` are and, or, either
and not. So it is a tree as `rnnfast.data.pack_trees` takes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Formula = Any
OPERATORS = {"&": 2, "|": 3, "^": 4, "!": 5}
SYMBOLS = ("0", "1", *OPERATORS)
CHARACTERS = "01&|^!()"


def grow(rng: np.random.Generator, depth: int) -> Formula:
    """Return a random formula at most that deep: operators down to half of it, from there on values now and then."""

    def node(level: int) -> Formula:
        if level == depth or (level > depth // 2 and rng.random() < 0.3):
            return int(rng.integers(2))
        operator = int(rng.integers(2, 6))
        return (operator, *(node(level + 1) for _ in range(1 if operator == 5 else 2)))

    return node(0)


def value(formula: Formula) -> int:
    """Return what a formula comes to."""
    if not isinstance(formula, tuple):
        return int(formula)
    operator, *operands = formula
    known = [value(operand) for operand in operands]
    if operator == 5:
        return 1 - known[0]
    return {2: known[0] & known[-1], 3: known[0] | known[-1], 4: known[0] ^ known[-1]}[operator]


def write(formula: Formula) -> str:
    """Return a formula as text, in brackets wherever an operator has two operands."""
    if not isinstance(formula, tuple):
        return str(formula)
    operator, *operands = formula
    if operator == 5:
        return "!" + write(operands[0])
    return f"({write(operands[0])}{SYMBOLS[operator]}{write(operands[1])})"


def read(text: str) -> Formula:
    """Return the formula of a text as `write` makes it, blanks allowed, the outermost brackets optional.

    Raises
    ------
    ValueError
        If it is none.
    """
    letters = [letter for letter in text if not letter.isspace()]
    at = 0

    def take(allowed: str) -> str:
        nonlocal at
        letter = letters[at] if at < len(letters) else "the end"
        if letter not in allowed or letter == "the end":
            raise ValueError(f"{text!r} is no formula: expected one of {' '.join(allowed)} instead of {letter}")
        at += 1
        return letter

    def operand(depth: int) -> Formula:
        if depth > 200:
            raise ValueError(f"{text!r:.40} goes deeper than 200 levels")
        letter = take("01!(")
        if letter == "!":
            return (5, operand(depth + 1))
        if letter != "(":
            return int(letter)
        found = pair(operand(depth + 1), depth)
        take(")")
        return found

    def pair(left: Formula, depth: int) -> Formula:
        operator = OPERATORS[take("&|^")]
        return (operator, left, operand(depth + 1))

    found = operand(0)
    if at < len(letters):
        found = pair(found, 0)
    if at < len(letters):
        raise ValueError(f"{text!r} is no formula: {''.join(letters[at:])!r} is left over; put brackets around pairs")
    return found
