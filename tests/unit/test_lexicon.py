"""What a lexicon adds to the logits of a decoder: against its formula over all words, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from elman.layers import Lexicon
from elman.layers.lexicon import look_up
from tolerances import assert_close, assert_same

V_SOURCE, V, T, B, S = 6, 9, 4, 3, 5


def example(dtype="float64"):
    """Return a lexicon whose rows differ in how many words they name, sources (T, B), and where attention points."""
    rng = np.random.default_rng(0)
    ids, p = rng.integers(0, V, (V_SOURCE, 3)), rng.dirichlet(np.ones(4), V_SOURCE)[:, :3]
    ids[1], p[1] = 0, 0  # no translation
    ids[2] = [5, 5, 7]  # one of them twice
    p[3, 1:] = 0
    source = rng.integers(0, V_SOURCE, (T, B))
    source[:, 1] = 1
    weights = rng.dirichlet(np.ones(T), (B, S)).astype(dtype)
    return Lexicon(ids, p, rng.dirichlet(np.ones(V))), source, weights


def by_the_formula(lexicon, source, weights):
    known = np.zeros((B, S, V))
    for b, s, t in np.ndindex(B, S, T):
        for word, p in zip(lexicon.ids[source[t, b]], lexicon.p[source[t, b]], strict=True):
            known[b, s, word] += 0.9 * weights[b, s, t] * p
    return np.log(known + 0.1 * lexicon.background)


@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_it_adds_the_logarithm_of_what_attention_points_at(dtype):
    lexicon, source, weights = example(dtype)
    y = np.random.default_rng(1).standard_normal((B, S, V)).astype(dtype)
    wanted = y + by_the_formula(lexicon, source, weights)
    words = look_up(lexicon, source, np.dtype(dtype))
    assert words.odds.dtype == words.known.dtype == dtype
    words.add_to(y, weights)
    assert y.dtype == dtype
    assert_close(y, wanted)


def test_its_gradient_is_that_of_the_formula():
    lexicon, source, weights = example()
    rng = np.random.default_rng(2)
    d_y, direction = rng.standard_normal((B, S, V)), rng.standard_normal(weights.shape)
    up, down = (np.sum(d_y * by_the_formula(lexicon, source, weights + e * direction)) for e in (1e-6, -1e-6))
    words = look_up(lexicon, source, np.dtype("f8"))
    odds = words.add_to(np.zeros((B, S, V)), weights)
    assert np.sum(words.backward(d_y, odds) * direction) == pytest.approx((up - down) / 2e-6, rel=1e-7)


def test_rows_of_it_are_what_is_said_of_those_sources():
    lexicon, source, weights = example()
    words, y = look_up(lexicon, source, np.dtype("f8")), np.zeros((2, B, S, V))
    words.add_to(y[0], weights)
    words.rows(np.array([2, 0])).add_to(y[1, :2], weights[[2, 0]])
    assert_same(y[1, :2], y[0, [2, 0]])


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("n_rows", [0, 3])
def test_nothing_to_say_is_the_background(k, n_rows):
    background = np.full(V, 1 / V)
    lexicon = Lexicon(np.zeros((V_SOURCE, k), int), np.zeros((V_SOURCE, k)), background)
    words, y = look_up(lexicon, np.zeros((T, n_rows), int), np.dtype("f8")), np.zeros((n_rows, S, V))
    odds = words.add_to(y, np.full((n_rows, S, T), 1 / T))
    assert_close(y, np.broadcast_to(np.log(0.1 * background), y.shape))
    assert not words.backward(y, odds).any()


@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_a_rare_background_gives_finite_logits(dtype):
    background = np.full(V, 1e-30)
    background[0] = 1 - 1e-29
    words = look_up(Lexicon(np.full((1, 1), 3), np.ones((1, 1)), background), np.zeros((T, B), int), np.dtype(dtype))
    y = np.zeros((B, S, V), dtype)
    words.add_to(y, np.full((B, S, T), 1 / T, dtype))
    assert_close(y[:, :, 3], np.full((B, S), np.log(0.9 + 1e-31)))


@pytest.mark.parametrize(
    ("lexicon", "words"),
    [
        (Lexicon(np.full((1, 2), -1), np.ones((1, 2)) / 2, np.full(V, 1 / V)), "must name target tokens from 0 to 8"),
        (Lexicon(np.full((1, 2), V), np.ones((1, 2)) / 2, np.full(V, 1 / V)), "must name target tokens from 0 to 8"),
        (Lexicon(np.zeros((1, 2), int), np.ones((1, 2)) / 2, np.eye(V)[0]), "must be at least 1e-30"),
        (Lexicon(np.zeros((1, 2), int), np.ones((1, 2)) / 2, np.full(V, np.nan)), "must be at least 1e-30"),
    ],
)
def test_a_lexicon_that_cannot_be_is_refused(lexicon, words):
    with pytest.raises(ValueError, match=words):
        look_up(lexicon, np.zeros((T, B), int), np.dtype("f4"))
