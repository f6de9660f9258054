"""Sequences of different lengths: padding to one array, and batches of like lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array, check_generator, check_iterable, check_size


def pad_sequences(
    sequences: Sequence[Any], value: float = 0, length: int | None = None, dtype: Any = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Stack sequences of different lengths into one array, filled up at the end.

    Parameters
    ----------
    sequences : sequence of array_like, each of shape (T_n, ...)
        The sequences; all but their first axis must agree. A sequence of length 0 is allowed.
    value : float, default 0
        What the steps beyond a sequence's end hold.
    length : int, optional
        Steps of the result. Longer sequences keep their first ``length`` steps. The longest length if not given.
    dtype : dtype, optional
        Of the result; by default the type that holds all the sequences' types.

    Returns
    -------
    padded : ndarray, shape (N, T, ...)
        The sequences one per row.
    lengths : ndarray of int64, shape (N,)
        How many steps of each row are valid: the ``lengths=`` of every layer and loss.

    Raises
    ------
    TypeError
        If an argument is not of its kind, or a sequence not numeric.
    ValueError
        If there is no sequence, or their further axes differ.

    Examples
    --------
    >>> padded, lengths = pad_sequences([[1, 2, 3], [4]])
    >>> padded.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, 0, 0]], [3, 1])
    """
    check_iterable("sequences", sequences)
    arrays = [as_array(f"sequences[{n}]", sequence) for n, sequence in enumerate(sequences)]
    if not arrays:
        raise ValueError("sequences must hold at least one sequence; got none")
    full = [array for array in arrays if array.size] or arrays
    item = full[0].shape[1:]
    for n, array in enumerate(arrays):
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise TypeError(f"sequences[{n}] must be a sequence of real numbers; got {sequences[n]!r:.80}")
        if array.size and array.shape[1:] != item:
            raise ValueError(
                f"sequences[{n}] must have steps of shape {item} as those before it; got {array.shape[1:]}"
            )
    longest = max(len(array) for array in arrays)
    steps = longest if length is None else check_size("length", length, 0)
    kind = np.result_type(*(array.dtype for array in full)) if dtype is None else np.dtype(dtype)
    padded = np.full((len(arrays), steps, *item), value, kind)
    lengths = np.array([min(len(array), steps) for array in arrays], np.int64)
    for row, array, valid in zip(padded, arrays, lengths, strict=True):
        if valid:
            row[:valid] = array[:valid]
    return padded, lengths


def teacher_forcing(
    sequences: Iterable[Any], start: int, end: int
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Return what a generative model reads at each step of its targets, and what it shall say there.

    Parameters
    ----------
    sequences : iterable of array_like (T_n,) of int
        Tokens. A sequence of length 0 is allowed.
    start, end : int
        The tokens for the start and the end.

    Returns
    -------
    targets_in : list of ndarray of int64 (T_n + 1,)
        ``start`` and the tokens.
    targets_out : list of ndarray of int64 (T_n + 1,)
        The tokens and ``end``.

    Raises
    ------
    TypeError, ValueError
        If the tokens are not integers in one dimension, or a number is less than 0.

    Examples
    --------
    >>> targets_in, targets_out = teacher_forcing([[5, 6, 7]], start=1, end=2)
    >>> targets_in[0].tolist(), targets_out[0].tolist()
    ([1, 5, 6, 7], [5, 6, 7, 2])
    """
    first, last = np.array([check_size("start", start, 0)]), np.array([check_size("end", end, 0)])
    check_iterable("sequences", sequences)
    inputs, outputs = [], []
    for n, sequence in enumerate(sequences):
        tokens = as_array(f"sequences[{n}]", sequence)
        if tokens.size == 0:
            tokens = tokens.astype(np.int64)
        if tokens.dtype.kind not in "iu":
            raise TypeError(f"sequences[{n}] must be integers; got dtype {tokens.dtype}")
        if tokens.ndim != 1 or (tokens.size and tokens.min() < 0):
            raise ValueError(f"sequences[{n}] must be tokens of at least 0 in one dimension; got shape {tokens.shape}")
        inputs.append(np.concatenate([first, tokens]).astype(np.int64))
        outputs.append(np.concatenate([tokens, last]).astype(np.int64))
    return inputs, outputs


def bucket_by_length(
    lengths: Any, batch_size: int, rng: np.random.Generator | None = None, pool: int = 50
) -> list[NDArray[np.int64]]:
    """Put sequences of like lengths into batches, so that little is computed for padding.

    Parameters
    ----------
    lengths : array_like of int, shape (N,)
        The length of every sequence.
    batch_size : int
        Sequences in a batch; the last batch of a pool may be smaller.
    rng : numpy.random.Generator, optional
        Source of randomness: sequences are shuffled, sorted by length within pools only, and the batches shuffled. If
        not given, all are sorted by length, ties in their own order.
    pool : int, default 50
        Batches in a pool: more means less padding, fewer means more randomness.

    Returns
    -------
    list of ndarray of int64
        The batches as indices into ``lengths``: each index in one batch.

    Raises
    ------
    TypeError, ValueError
        If the lengths are not integers of at least 0 in one dimension, or a size is less than 1.
    """
    sizes = as_array("lengths", lengths)
    if sizes.size == 0:
        sizes = sizes.astype(np.int64)
    if sizes.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers; got dtype {sizes.dtype}")
    if sizes.ndim != 1 or (sizes.size and sizes.min() < 0):
        raise ValueError("lengths must be one number of at least 0 for each sequence")
    batch_size = check_size("batch_size", batch_size)
    pool = check_size("pool", pool)
    check_generator(rng)
    order = np.arange(len(sizes)) if rng is None else rng.permutation(len(sizes))
    width = max(len(order), 1) if rng is None else batch_size * pool
    batches = []
    for start in range(0, len(order), width):
        part = order[start : start + width]
        part = part[np.argsort(sizes[part], kind="stable")]
        batches += [part[k : k + batch_size] for k in range(0, len(part), batch_size)]
    if rng is not None:
        batches = [batches[k] for k in rng.permutation(len(batches))]
    return batches
