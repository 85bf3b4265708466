"""Attention by itself: against its formula in loops, by central differences, and where there is nothing to look at."""

from __future__ import annotations

import numpy as np
import pytest

import tolerances
from elman.layers.attention import KINDS, Attention
from elman.params import Params
from tolerances import assert_close, assert_same

B, S, T, D = 3, 4, 5, 3
LENGTHS = (5, 0, 2)


def make(kind, M=4, O=6, dtype="float64"):
    attention = Attention(kind, D, D if kind == "dot" else M, O)
    params = Params(attention.shapes(), dtype=np.dtype(dtype))
    params.flat[:] = np.random.default_rng(1).uniform(-0.8, 0.8, params.flat.size)
    return attention, params


def inputs(attention, dtype="float64"):
    rng = np.random.default_rng(2)
    q = rng.standard_normal((S, B, D)).astype(dtype)
    m = rng.standard_normal((T, B, attention.memory_size)).astype(dtype)
    valid = (np.arange(T)[:, None] < np.array(LENGTHS))[:, :, None]
    return q, np.where(valid, m, 0).astype(dtype), valid


def by_the_formula(attention, params, q, m):
    """Return y and the weights, step by step and number by number."""
    y, weights = np.zeros((S, B, attention.output_size)), np.zeros((B, S, T))
    for b in range(B):
        for s in range(S):
            scores = []
            for t in range(LENGTHS[b]):
                if attention.kind == "additive":
                    hidden = params["weight_key"] @ m[t, b] + params["weight_query"] @ q[s, b] + params["bias_query"]
                    scores.append(params["vector"][0] @ np.tanh(hidden))
                else:
                    key = m[t, b] if attention.kind == "dot" else params["weight_key"] @ m[t, b]
                    scores.append(q[s, b] @ key / np.sqrt(D))
            a = np.exp(scores) / np.sum(np.exp(scores))
            weights[b, s, : LENGTHS[b]] = a
            context = sum((a[t] * m[t, b] for t in range(LENGTHS[b])), np.zeros(attention.memory_size))
            inner = params["weight_context"] @ context + params["weight_output"] @ q[s, b] + params["bias"]
            y[s, b] = np.tanh(inner)
    return y, weights


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_its_formula(kind, dtype):
    attention, params = make(kind, dtype=dtype)
    q, m, valid = inputs(attention, dtype)
    y, tape = attention.forward(params, q, attention.read(params, m, valid))
    expected = by_the_formula(attention, params, q, m)
    assert y.dtype == tape.weights.dtype == dtype
    assert_close((y, tape.weights), tuple(part.astype(dtype) for part in expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_equals_the_central_difference(kind, masked):
    attention, params = make(kind)
    q, m, valid = inputs(attention)
    if not masked:
        m, valid = np.random.default_rng(5).standard_normal(m.shape), None
    d_y = np.random.default_rng(3).standard_normal((S, B, attention.output_size))
    grads = params.zeros_like()
    _, tape = attention.forward(params, q, attention.read(params, m, valid))
    d_q, d_m = attention.backward(params, tape, d_y, grads)
    rng = np.random.default_rng(4)
    way = [rng.standard_normal(part.shape) for part in (params.flat, q, m)]
    if valid is not None:
        way[2] = np.where(valid, way[2], 0)
        assert (d_m[~valid[:, :, 0]] == 0).all()
    scale = np.sqrt(sum(np.sum(part * part) for part in way))

    def loss(step):
        moved = Params(attention.shapes(), params.flat + step / scale * way[0])
        memory = attention.read(moved, m + step / scale * way[2], valid)
        return np.sum(attention.forward(moved, q + step / scale * way[1], memory)[0] * d_y)

    measured = (loss(1e-5) - loss(-1e-5)) / 2e-5
    exact = sum(np.sum(a * b) for a, b in zip((grads.flat, d_q, d_m), way, strict=True)) / scale
    assert abs(measured - exact) <= tolerances.GRADIENT * max(abs(measured), abs(exact), 1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_oracle_that_fails(kind):
    """The central difference sees a wrong derivative: a weight that is left out of the softmax's."""
    attention, params = make(kind)
    q, m, valid = inputs(attention)
    y, tape = attention.forward(params, q, attention.read(params, m, valid))
    right = attention.backward(params, tape, np.ones_like(y), params.zeros_like())[0]
    wrong = attention.backward(
        params, tape._replace(weights=tape.weights * 1.01), np.ones_like(y), params.zeros_like()
    )[0]
    assert np.abs(right - wrong).max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_a_step_reads_zeros(kind):
    attention, params = make(kind)
    q, m, valid = inputs(attention)
    y, tape = attention.forward(params, q, attention.read(params, m, valid))
    assert (tape.weights[1] == 0).all()
    assert (tape.context[:, 1] == 0).all()
    assert np.isfinite(y).all()
    d_q, d_m = attention.backward(params, tape, np.ones_like(y), params.zeros_like())
    assert np.isfinite(d_q).all()
    assert (d_m[:, 1] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_huge_scores_overflow_nowhere(kind):
    attention, params = make(kind, dtype="float32")
    q, m, valid = inputs(attention, "float32")
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, tape = attention.forward(params, q * 1e4, attention.read(params, m * 1e4, valid))
    assert np.isfinite(y).all()
    np.testing.assert_allclose(tape.weights.sum(axis=2)[[0, 2]], 1, rtol=1e-5)


def test_rows_of_a_memory_are_those_rows():
    attention, params = make("general")
    q, m, valid = inputs(attention)
    memory = attention.read(params, m, valid)
    some = np.array([2, 0])
    y, _ = attention.forward(params, q[:, some], memory.rows(some))
    assert_close(y, attention.forward(params, q, memory)[0][:, some])
    whole = attention.read(params, m, None)
    assert_same(whole.rows(some).values, m[:, some])
    assert whole.rows(some).valid is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("best", 3, 3, 3), "kind must be one of 'dot', 'general', 'additive', got 'best'"),
        (("dot", 3, 4, 3), "dot needs queries and a memory of one size, got 3 and 4; take kind='general'"),
        (("general", 0, 4, 3), "query_size must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        Attention(*options)
