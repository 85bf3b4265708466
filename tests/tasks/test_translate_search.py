"""Beam search against brute force (cases F1 to F3)."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from elman import GRU, LSTM, Bidirectional, Embedding, EncoderDecoder, Linear, Model, Sequential
from elman.kernels.spec import GRUState
from elman.tasks.translate import search as module
from elman.tasks.translate.search import LengthNorm, beam_search
from elman.tasks.translate.tokens import BEGIN, END, UNKNOWN
from elman.tasks.translate.translator import NetworkWriter

A = 3  # the one token of case F1
SPECIALS = (BEGIN, UNKNOWN)


class Clock:
    """A writer whose probability of the end depends on the step alone; its state counts the steps."""

    def __init__(self, p_end):
        self.p_end = p_end

    def step(self, ids, state):
        B, K = ids.shape
        t = state.h[:, 0].astype(int).reshape(B, K)
        p = np.array(self.p_end)[t]
        logits = np.full((B, K, 4), -np.inf)
        with np.errstate(divide="ignore"):
            logits[..., END], logits[..., A] = np.log(p), np.log(1 - p)
        return logits, GRUState(state.h + 1), None

    def keep(self, rows):
        pass


def clock(n_sources=1):
    return Clock([0.55, 0.1, 0.1, 0.9]), GRUState(np.zeros((n_sources, 1)))


def texts(found):
    return ["a" * (len(h.ids) - 1) for h in found]


@pytest.mark.parametrize(
    ("norm", "best", "score"),
    [
        (LengthNorm("none"), "", -0.597837),
        (LengthNorm("mean"), "aaa", -0.278647),
        (LengthNorm("gnmt", 0.6), "", -0.597837),
        (LengthNorm("gnmt", 1.0), "", -0.597837),
    ],
)
@pytest.mark.parametrize("beam", [2, 3, 5])
def test_f1_a_longer_text_may_still_win(norm, best, score, beam):
    writer, state = clock()
    (found,) = beam_search(writer, state, 1, beam=beam, max_length=4, norm=norm)
    assert texts(found) == [best]
    assert found[0].score == pytest.approx(score, abs=5.5e-7)


def test_f1_the_totals_of_all_texts():
    writer, state = clock()
    (found,) = beam_search(writer, state, 1, beam=4, n_best=4, max_length=4, norm=LengthNorm("none"))
    totals = dict(zip(texts(found), [h.log_prob for h in found], strict=True))
    expected = {"": -0.597837, "a": -3.101093, "aa": -3.206453, "aaa": -1.114589}
    assert totals == pytest.approx(expected, abs=5.5e-7)
    gnmt = {text: total / LengthNorm("gnmt", 0.6)(len(text) + 1) for text, total in totals.items()}
    assert gnmt["aaa"] == pytest.approx(-0.873897, abs=5.5e-7)
    assert totals["aaa"] / LengthNorm("gnmt", 1.0)(4) == pytest.approx(-0.743059, abs=5.5e-7)


V = 5  # unknown, begin, end, and two more


def small(seed, cell=LSTM, attention="general", B=3, T=4):
    """Return a small random network that writes V tokens, and sources for it."""
    layer = EncoderDecoder(
        Sequential(Embedding(6, 3), Bidirectional(cell(3, 2))),
        Sequential(Embedding(V, 3), cell(3, 4), cell(4, 4)),
        Linear(4, V),
        attention=attention,
        attention_size=4,
    )
    model = layer.init(seed, dtype=np.float64)
    model.params.flat[:] += np.random.default_rng(seed).standard_normal(model.params.flat.size)
    rng = np.random.default_rng(seed + 1)
    lengths = np.array([T, T - 2, 1, T][:B])
    return model, rng.integers(0, 6, (B, T)), lengths


def log_prob(model: Model, source, ids) -> float:
    """Return the log-probability of a text with its end, by the plain forward pass of the whole."""
    from elman import Pair

    y = model(Pair(source[None], np.array([[BEGIN, *ids[:-1]]]))).y[0]
    y = y - y.max(axis=1, keepdims=True)
    y = y - np.log(np.exp(y).sum(axis=1, keepdims=True))
    return float(sum(y[t, i] for t, i in enumerate(ids)))


def every_text(limit):
    """Return all texts of at most `limit` tokens, the end counted."""
    tokens = [i for i in range(V) if i not in (BEGIN, END)]
    return [[*text, END] for n in range(limit) for text in itertools.product(tokens, repeat=n)]


def search(model, source, lengths, **options):
    writer = NetworkWriter(model, source, lengths)
    return beam_search(writer, writer.start, len(source), **options)


@pytest.mark.parametrize("norm", [LengthNorm("none"), LengthNorm("mean"), LengthNorm("mean", 0.5), LengthNorm("gnmt")])
@pytest.mark.parametrize("attention", ["general", "additive", "none"])
@pytest.mark.parametrize("seed", [0, 1])
def test_f3_a_beam_as_wide_as_there_are_texts_is_exhaustive(seed, attention, norm):
    model, source, lengths = small(seed, attention=attention)
    n = 4
    found = search(model, source, lengths, beam=V**n, n_best=7, max_length=n, norm=norm)
    for row, length in enumerate(lengths):
        all_texts = [(log_prob(model, source[row, :length], ids), ids) for ids in every_text(n)]
        expected = sorted(((total / norm(len(ids)), ids) for total, ids in all_texts), reverse=True)[:7]
        assert [h.ids for h in found[row]] == [ids for _, ids in expected]
        assert [h.score for h in found[row]] == pytest.approx([score for score, _ in expected], abs=1e-9)


@pytest.mark.parametrize("cell", [LSTM, GRU])
@pytest.mark.parametrize("seed", range(4))
def test_f3_scores_are_those_of_the_texts_and_hypotheses_are_sorted_and_unique(seed, cell):
    """The state of a hypothesis follows its parent, or its score would be that of another text."""
    model, source, lengths = small(seed, cell)
    for beam in (1, 2, 3, 6):
        found = search(model, source, lengths, beam=beam, n_best=beam, max_length=7)
        for row, length in enumerate(lengths):
            scores = [h.score for h in found[row]]
            assert scores == sorted(scores, reverse=True)
            assert len({tuple(h.ids) for h in found[row]}) == len(found[row]) >= 1
            for h in found[row]:
                assert h.ids[-1] == END
                assert h.ids.count(END) == 1
                assert len(h.ids) <= 7
                assert BEGIN not in h.ids
                assert h.log_prob == pytest.approx(log_prob(model, source[row, :length], h.ids), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_f3_width_one_is_greedy(seed):
    model, source, lengths = small(seed)
    found = search(model, source, lengths, beam=1, max_length=6)
    for row, length in enumerate(lengths):
        ids = []
        memory, state = model.layer.read(model.params, source[row : row + 1, :length])
        while END not in ids:
            last = np.array([[ids[-1] if ids else BEGIN]])
            logits, state, _ = model.layer.step(model.params, last, state, memory)
            logits[0, 0, BEGIN] = -np.inf
            ids.append(END if len(ids) == 5 else int(logits[0, 0].argmax()))
        assert found[row][0].ids == ids


@pytest.mark.parametrize("seed", range(3))
def test_a_source_gives_the_same_alone_and_in_any_batch(seed):
    model, source, lengths = small(seed, B=4)
    together = search(model, source, lengths, beam=3, n_best=2, max_length=np.array([7, 3, 5, 6]))
    for row, length in enumerate(lengths):
        limit = [7, 3, 5, 6][row]
        alone = search(
            model, source[row : row + 1, :length], lengths[row : row + 1], beam=3, n_best=2, max_length=limit
        )
        assert [h.ids for h in alone[0]] == [h.ids for h in together[row]]


def test_attention_belongs_to_its_text():
    model, source, lengths = small(2)
    found = search(model, source, lengths, beam=3, n_best=3, max_length=6, attention=True)
    for row, length in enumerate(lengths):
        for h in found[row]:
            memory, state = model.layer.read(model.params, source[row : row + 1, :length])
            for t, last in enumerate([BEGIN, *h.ids[:-1]]):
                _, state, weights = model.layer.step(model.params, np.array([[last]]), state, memory)
                np.testing.assert_allclose(h.attention[t, :length], weights[0, 0], atol=1e-12)
                assert (h.attention[t, length:] == 0).all()
                assert h.looked[t] == weights[0, 0].argmax()


def test_where_texts_looked_most_needs_little_memory():
    """A long source and a long text: only one place a step is kept unless all are asked for."""

    class Reader(Clock):
        def step(self, ids, state):
            weights = np.zeros((*ids.shape, 20_000))
            weights[:, :, int(state.h[0, 0])] = 1
            return *super().step(ids, state)[:2], weights

    peaks = {}
    for attention in (False, True):
        tracemalloc.start()
        writer, state = Reader([0.0] * 99 + [1.0]), GRUState(np.zeros((2, 1)))
        found = beam_search(writer, state, 2, beam=2, max_length=100, attention=attention)
        peaks[attention] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found[1][0].looked == list(range(100))
        assert (found[1][0].attention is not None) == attention
    assert peaks[False] < 4e6 < 2e7 < peaks[True]


def test_finished_sources_leave_the_batch():
    kept = []
    model, source, lengths = small(0)

    class Watched(NetworkWriter):
        def step(self, ids, state):
            kept.append(len(ids))
            return super().step(ids, state)

    writer = Watched(model, source, lengths)
    done = []
    beam_search(
        writer, writer.start, 3, beam=2, max_length=np.array([2, 5, 9]), norm=LengthNorm(), progress=done.append
    )
    assert kept[0] == 3
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < 3
    assert done[-1] == 3


def test_the_bound_of_the_search_is_seen_to_matter(monkeypatch):
    """A search that stops at the first finished text misses the best one of F1."""

    def best():
        writer, state = clock()
        (found,) = beam_search(writer, state, 1, beam=2, max_length=4)
        return texts(found)

    def stops_at_once(bounds, rows, finished, n_best):
        return np.isfinite(bounds) & [len(finished[row]) < n_best for row in rows]

    assert best() == ["aaa"]
    monkeypatch.setattr(module, "_can_improve", stops_at_once)
    assert best() == [""]


def test_a_model_that_diverged_is_refused_in_words():
    model, source, lengths = small(0)
    for value in (np.nan, np.inf):
        model.params.flat[:] = value
        with pytest.raises(FloatingPointError, match="not finite numbers at step 1; it diverged"):
            search(model, source, lengths)


@pytest.mark.parametrize(("logit", "words"), [(np.inf, "not finite numbers"), (-np.inf, "no text any probability")])
def test_logits_that_are_infinite_give_no_text(logit, words):
    class Infinite(Clock):
        def step(self, ids, state):
            logits, state, _ = super().step(ids, state)
            return np.full_like(logits, logit), state, None

    with pytest.raises(FloatingPointError, match=words):
        beam_search(Infinite([0.5] * 9), GRUState(np.zeros((1, 1))), 1, max_length=4)


def test_no_source_no_text():
    writer, state = clock(0)
    assert beam_search(writer, state, 0) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beam": 0}, "beam must be at least 1, got 0"),
        ({"beam": 2, "n_best": 3}, "n_best must be at most beam = 2, got 3"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_fit(options, words):
    writer, state = clock()
    with pytest.raises(ValueError, match=words):
        beam_search(writer, state, 1, **options)


@pytest.mark.parametrize(
    ("kind", "alpha"), [("sum", 1.0), ("mean", -1.0), ("mean", math.nan), ("gnmt", math.inf), ("mean", 1e3)]
)
def test_norms_that_do_not_exist(kind, alpha):
    with pytest.raises(ValueError, match="LengthNorm"):
        LengthNorm(kind, alpha)


class Lost:
    """A writer of two sources; from the second step on the first text of the first one cannot go on."""

    def __init__(self, V):
        self.logits = np.random.default_rng(0).standard_normal((2, 2, V)).astype("f4")
        self.n_steps = 0

    def step(self, ids, state):
        self.n_steps += 1
        logits = self.logits[: len(ids), : ids.shape[1]].copy()
        if self.n_steps == 2:
            logits[0, 0] = -np.inf
        return logits, state, None

    def keep(self, rows):
        self.logits = self.logits[rows]


@pytest.mark.parametrize("V", [5, 70])
def test_a_text_that_nothing_can_go_on_is_left_and_others_go_on(V):
    with np.errstate(invalid="ignore"):
        found = beam_search(Lost(V), np.zeros((2, 1)), 2, beam=2, max_length=4, forbidden=(BEGIN,))
    assert all(np.isfinite(texts[0].log_prob) for texts in found)
    assert all(texts[0].ids[-1] == END for texts in found)


@pytest.mark.parametrize("V", [3, 31, 32, 70, 320])
@pytest.mark.parametrize("n", [1, 4, 6])
def test_the_largest_are_those_of_a_sort(V, n):
    rng = np.random.default_rng(V)
    values = rng.integers(0, 50, (6, 2, V)).astype("f4")  # with many that are equal
    values[1, 0] = -np.inf  # of a text that has ended
    values[2] = -np.inf
    values[2, 1, 2] = 1  # of texts at their greatest length
    values[3, :, : V // 2] = -np.inf
    found = module._largest(values, min(n, 2 * V))
    flat = values.reshape(6, -1)
    wanted = np.sort(flat, axis=1)[:, ::-1][:, :n]
    assert np.array_equal(np.take_along_axis(flat, found, axis=1), wanted)
    assert all(len(set(row)) == len(row) for row in found.tolist())
