"""Attention: central differences -> reference -> native float64 -> float32, and what the equations say of masks.

Tolerances: sums of up to a hundred products, some 1e-15 of their size in float64 and 1e-6 in float32; the bounds are
about ten times that.
"""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast._native import attention as native
from rnnfast.backend import use_backend
from rnnfast.gradient_check import gradcheck
from rnnfast.layers.attention import SCORES, Attention
from rnnfast.reference import attention as reference
from rnnfast.threads import limit_threads

N, T, S, Q, M = 4, 3, 6, 5, 7
LENGTHS = {"full": None, "ragged": np.array([6, 2, 0, 1])}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-14}


def make(score, dtype=np.float64, **options):
    return Attention(M if score == "dot" else Q, M, score, dtype=dtype, seed=1, **options)


def inputs(score, rng, dtype=np.float64):
    query = rng.standard_normal((N, T, M if score == "dot" else Q)).astype(dtype)
    return query, rng.standard_normal((N, S, M)).astype(dtype)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("score", SCORES)
def test_gradients(score, backend, lengths, rng):
    with use_backend(backend):
        result = gradcheck(make(score), inputs(score, rng), lengths=LENGTHS[lengths])
        expected = {"dot": 0, "general": 1, "additive": 4}[score]
        assert result and len(result.errors) == 2 + expected, result


def run(layer, x, lengths):
    rng = np.random.default_rng(3)
    (context, weights), pullback = layer.forward(x, lengths=lengths)
    grads = {}
    dcontext, dweights = (rng.standard_normal(a.shape) for a in (context, weights))
    dquery, dmemory = pullback((dcontext, dweights), grads)
    return {"context": context, "weights": weights, "dquery": dquery, "dmemory": dmemory, **grads}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("score", SCORES)
def test_native_is_as_the_reference(score, lengths, dtype, isa, rng):
    layer, x = make(score), inputs(score, rng)
    with use_backend("reference"):
        expected = run(layer, x, LENGTHS[lengths])
    layer = make(score, dtype)
    found = run(layer, tuple(part.astype(dtype) for part in x), LENGTHS[lengths])
    assert set(found) == set(expected)
    for name, array in found.items():
        assert array.dtype == dtype
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=10 * TOLERANCE[dtype], err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [1, 3, 8, 15, 16, 17, 33, 64, 100])
def test_additive_kernels_at_every_width(units, dtype, isa, rng):
    query, keys, v = (rng.standard_normal(shape) for shape in ((3, 4, units), (3, 5, units), (units,)))
    lengths, dscores = np.array([5, 0, 2]), rng.standard_normal((3, 4, 5))
    low = [a.astype(dtype) for a in (query, keys, v)]
    exact = [a.astype(np.float64) for a in low]
    bound = 4 * units**0.5 * np.finfo(dtype).eps * 8
    found = native.additive_scores(*low, lengths)
    np.testing.assert_allclose(found, reference.additive_scores(*exact, lengths), rtol=0, atol=bound)
    assert not found[1].any() and not found[2, :, 2:].any()
    expected = reference.additive_gradients(*exact, lengths, dscores)
    for name, a, b in zip(
        ("query", "keys", "v"), native.additive_gradients(*low, lengths, dscores.astype(dtype)), expected, strict=True
    ):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=64 * np.finfo(dtype).eps, err_msg=name)


def test_threads_change_no_bit(rng):
    query, keys, v = (rng.standard_normal(shape).astype(np.float32) for shape in ((7, 9, 40), (7, 11, 40), (40,)))
    dscores = rng.standard_normal((7, 9, 11)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        with limit_threads(threads):
            results.append([native.additive_scores(query, keys, v, None)])
            results[-1] += native.additive_gradients(query, keys, v, None, dscores)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("score", SCORES)
def test_weights_are_a_softmax_over_the_valid_steps(score, rng):
    layer, (query, memory) = make(score), inputs(score, rng)
    lengths = LENGTHS["ragged"]
    context, weights = layer((query, memory), lengths=lengths)
    assert np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(axis=2), np.broadcast_to((lengths > 0)[:, None], (N, T)), atol=1e-14)
    for n, valid in enumerate(lengths):
        assert not weights[n, :, valid:].any()
        other, _ = layer((query[n : n + 1], memory[n : n + 1, :valid]))
        np.testing.assert_allclose(context[n], other[0], rtol=0, atol=1e-13)
    changed = memory.copy()
    changed[1, 2:] = 1e6
    assert np.array_equal(layer((query, changed), lengths=lengths)[0], context)


def test_scores_are_those_of_the_papers(rng):
    query, memory = inputs("general", rng)
    general, additive = make("general"), make("additive", attention_size=3)
    w = general.parameters()["query.weight"].T
    scores = np.einsum("ntq,qm,nsm->nts", query, w, memory)
    p = additive.parameters()
    sums = (query @ p["query.weight"].T + p["query.bias"])[:, :, None] + (memory @ p["memory.weight"].T)[:, None]
    for layer, expected in ((general, scores), (additive, np.tanh(sums) @ p["weight"])):
        expected = np.exp(expected)
        expected /= expected.sum(axis=2, keepdims=True)
        np.testing.assert_allclose(layer((query, memory))[1], expected, rtol=0, atol=1e-14)


def test_large_scores_do_not_overflow():
    query, memory = np.full((1, 1, 2), 1e20, np.float32), np.array([[[1e15, 0], [-1e15, 0]]], np.float32)
    context, weights = Attention(2, 2, "dot")((query, memory))
    assert weights.tolist() == [[[1.0, 0.0]]] and context[0, 0, 0] == np.float32(1e15)


def test_a_pullback_runs_once_and_on_the_same_parameters(rng):
    layer, x = make("additive"), inputs("additive", rng)
    (context, weights), pullback = layer.forward(x)
    dquery, dmemory = pullback((context, None), {})
    assert dquery.shape == x[0].shape and dmemory.shape == x[1].shape
    with pytest.raises(RuntimeError, match="called before"):
        pullback((context, None), {})
    _, pullback = layer.forward(x)
    with layer.update():
        pass
    with pytest.raises(RuntimeError, match="parameters changed"):
        pullback((None, weights), {})


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((3, 4, "dot"), ValueError, "'dot' needs query_size and memory_size to be equal; got 3 and 4"),
        ((3, 4, "cosine"), ValueError, "score must be one of dot, general, additive"),
        ((0, 4), ValueError, "query_size must be at least 1"),
        ((3, 4, "general", 5), ValueError, "attention_size is for additive scores"),
        ((3, 4, "additive", 0), ValueError, "attention_size must be at least 1"),
    ],
)
def test_wrong_options(arguments, error, match):
    with pytest.raises(error, match=match):
        Attention(*arguments)


@pytest.mark.parametrize(
    ("x", "lengths", "error", "match"),
    [
        (np.zeros((2, 3, 5)), None, TypeError, "x must be a tuple of queries and memory; got ndarray"),
        ((np.zeros((2, 3, 4)), np.zeros((2, 6, 7))), None, ValueError, r"x\[0\] must have shape \(N, T, 5\)"),
        ((np.zeros((2, 3, 5)), np.zeros((1, 6, 7))), None, ValueError, r"x\[1\] must have shape \(2, S, 7\)"),
        ((np.zeros((2, 3, 5)), np.zeros((2, 6, 7))), [7, 1], ValueError, r"lengths must lie in 0\.\.6"),
    ],
)
def test_wrong_input(x, lengths, error, match):
    with pytest.raises(error, match=match):
        make("general")(x, lengths=lengths)
