"""What is true of any encoder-decoder: the laws of a layer, for a layer that takes pairs of sequences."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import elman
import tolerances
import zoo
from elman import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dropout,
    Embedding,
    EncoderDecoder,
    Linear,
    Pair,
    Residual,
    Sequential,
    stack,
)
from elman.layers import Lexicon
from elman.trees import tree_leaves, tree_map
from tolerances import assert_close, assert_same

B, T, S, V, W = 4, 5, 6, 7, 8  # rows, source steps, target steps, source and target vocabularies
LENGTHS = {"full": (None, None), "ragged": ((3, 5, 0, 1), (6, 2, 4, 0))}


def make(attention="general", encoder=None, decoder=None, output=None, size=3):
    return EncoderDecoder(
        encoder or Sequential(Embedding(V, 3), Bidirectional(GRU(3, 2))),
        decoder or Sequential(Embedding(W, 3), GRU(3, 4)),
        output or Sequential(Linear(size, W)),
        attention=attention,
        attention_size=size,
    )


ZOO = {
    "dot": lambda: make("dot"),
    "general": lambda: make("general"),
    "additive": lambda: make("additive"),
    "none": lambda: make("none", size=4),
    "lstm": lambda: make(
        "general",
        Sequential(Embedding(V, 3), Dropout(0.3), *stack(LSTM, [3, 2, 3], bidirectional=True).layers, Dropout(0.3)),
        Sequential(Embedding(W, 3), Dropout(0.3), *stack(LSTM, [3, 4, 5], dropout=0.2).layers),
        Sequential(Dropout(0.3), Linear(3, W)),
    ),
    "lexicon": lambda: make("general", size=5),
    "lexicon-additive": lambda: make("additive", output=Sequential(Dropout(0.3), Linear(5, W)), size=5),
    "short-cut": lambda: make("general", Sequential(Embedding(V, 4), Residual(Bidirectional(GRU(4, 2))))),
    "one-way": lambda: make("additive", LSTM(V, 3, token_input=True), RNN(W, 2, token_input=True)),
    "learned": lambda: make(
        "dot", GRU(V, 3, token_input=True, learned_initial_state=True), GRU(W, 3, token_input=True, reset_after=False)
    ),
}


class Case(NamedTuple):
    model: elman.Model
    x: Pair
    lengths: Any
    d_y: np.ndarray
    d_state: Any


def case(layer: EncoderDecoder, lengths: str = "full", dtype: str = "float64") -> Case:
    rng = np.random.default_rng(2)
    source_lengths, target_lengths = LENGTHS[lengths]
    known = None
    if layer.attention_size == 5:  # those of the zoo that come with a lexicon
        known = Lexicon(rng.integers(0, W, (V, 3)), rng.dirichlet(np.ones(4), V)[:, :3], rng.dirichlet(np.ones(W)))
    x = Pair(rng.integers(0, V, (B, T)), rng.integers(0, W, (B, S)), source_lengths, known)
    d_y = rng.standard_normal((B, S, W)).astype(dtype)
    d_state = zoo.random_like(layer.zero_state(B, dtype), 4)
    return Case(elman.Model(layer, zoo.random_params(layer, dtype)), x, target_lengths, d_y, d_state)


def run(c: Case, state=None, rng_seed=None):
    rng = None if rng_seed is None else np.random.default_rng(rng_seed)
    forward = c.model.forward(c.x, state, lengths=c.lengths, rng=rng)
    return forward, c.model.backward(forward.tape, c.d_y, c.d_state)


@pytest.fixture(autouse=True, params=zoo.TWINS)
def twin(request):
    with elman.use_kernels(request.param):
        yield


@pytest.fixture(params=ZOO)
def layer(request):
    return ZOO[request.param]()


@pytest.fixture(params=LENGTHS)
def lengths(request):
    return request.param


def random_state(layer, seed=7):
    return zoo.random_like(layer.zero_state(B, "float64"), seed)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("rng_seed", [None, 5])
def test_gradient_equals_the_central_difference(layer, lengths, rng_seed, given):
    c = case(layer, lengths)
    state = random_state(layer) if given else None
    _, (grads, d_x, d_start, _) = run(c, state, rng_seed)
    assert d_x is None
    rng = np.random.default_rng(4)
    direction = rng.standard_normal(grads.flat.shape)
    d_state = random_state(layer, 8) if given else ()
    scale = np.sqrt(direction @ direction + sum(np.sum(d * d) for _, d in tree_leaves(d_state)))

    def loss(step: float) -> float:
        params = elman.Params(layer.shapes(), c.model.params.flat + step / scale * direction)
        start = tree_map(lambda s, d: s + step / scale * d, state, d_state) if given else None
        dropout = None if rng_seed is None else np.random.default_rng(rng_seed)
        y, end, _ = layer.forward(params, c.x, start, lengths=c.lengths, rng=dropout)
        pairs = zip(tree_leaves(end), tree_leaves(c.d_state), strict=True)
        return float(np.sum(y * c.d_y) + sum(np.sum(a * b) for (_, a), (_, b) in pairs))

    measured = (loss(1e-5) - loss(-1e-5)) / 2e-5
    exact = grads.flat @ direction
    if given:
        pairs = zip(tree_leaves(d_start), tree_leaves(d_state), strict=True)
        exact += sum(np.sum(a * b) for (_, a), (_, b) in pairs)
    exact /= scale
    assert abs(measured - exact) <= tolerances.GRADIENT * max(abs(measured), abs(exact), 1e-2)


def test_every_parameter_has_a_gradient(layer):
    _, backward = run(case(layer))
    for name, gradient in backward.grads.items():
        assert np.abs(gradient).max() > 1e-6, name


def test_what_the_padding_holds_changes_no_bit(layer):
    c = case(layer, "ragged")
    clean = run(c)
    for bad in (-1, 10**9):
        source, target, d_y = c.x.source.copy(), c.x.target.copy(), c.d_y.copy()
        for row, (n_source, n_target) in enumerate(zip(c.x.source_lengths, c.lengths, strict=True)):
            source[row, n_source:] = bad
            target[row, n_target:] = bad
            d_y[row, n_target:] = np.nan
        forward, backward = run(c._replace(x=c.x._replace(source=source, target=target), d_y=d_y))
        assert_same((forward.y, forward.state, *backward), (clean[0].y, clean[0].state, *clean[1]))
    for row, n_target in enumerate(c.lengths):
        assert (clean[0].y[row, n_target:] == 0).all()


def test_a_row_gives_what_that_row_gives_alone(layer, lengths):
    c = case(layer, lengths)
    forward, backward = run(c)
    grads = c.model.params.zeros_like()
    for k in range(B):
        n_source = T if c.lengths is None else c.x.source_lengths[k]
        n_target = S if c.lengths is None else c.lengths[k]
        alone = Pair(c.x.source[k, :n_source], c.x.target[k, :n_target], None, c.x.lexicon)
        y, state, tape = c.model.forward(alone)
        assert_close(y, forward.y[k, :n_target])
        assert_close(state, tree_map(lambda s, k=k: s[k : k + 1], forward.state))
        d_state = tree_map(lambda s, k=k: s[k : k + 1], c.d_state)
        c.model.backward(tape, c.d_y[k, :n_target], d_state, grads=grads)
    assert_close(grads, backward.grads)


def test_lists_give_what_the_padded_batch_gives(layer):
    c = case(layer, "ragged")
    forward, backward = run(c)
    sources = [row[:n] for row, n in zip(c.x.source, c.x.source_lengths, strict=True)]
    targets = [row[:n] for row, n in zip(c.x.target, c.lengths, strict=True)]
    y, _, tape = c.model.forward(Pair(sources, targets, None, c.x.lexicon))
    assert_close(y, [row[:n] for row, n in zip(forward.y, c.lengths, strict=True)])
    d_y = [row[:n] for row, n in zip(c.d_y, c.lengths, strict=True)]
    assert_close(c.model.backward(tape, d_y, c.d_state).grads, backward.grads)


def test_backward_adds_and_calls_are_pure(layer, lengths):
    c = case(layer, lengths)
    before = c.model.params.flat.copy()
    forward, once = run(c)
    twice = c.model.backward(forward.tape, c.d_y, c.d_state, grads=once.grads.copy()).grads
    assert_close(twice.flat, 2 * once.grads.flat)
    assert_same(c.model(c.x, lengths=c.lengths), forward[:2])
    assert_same(c.model.params.flat, before)
    assert_same((run(c)[0].y, run(c)[1].grads), (forward.y, once.grads))


def test_step_by_step_gives_the_logits_of_the_whole(layer, lengths):
    c = case(layer, lengths)
    whole = c.model(c.x, lengths=c.lengths).y
    memory, state = layer.read(c.model.params, c.x.source, lengths=c.x.source_lengths, lexicon=c.x.lexicon)
    for t in range(S):
        logits, state, weights = layer.step(c.model.params, c.x.target[:, t : t + 1], state, memory)
        for row in range(B):
            if c.lengths is None or t < c.lengths[row]:
                assert_close(logits[row, 0], whole[row, t])
        if weights is not None:
            totals = np.ones(B) if c.lengths is None else np.minimum(c.x.source_lengths, 1)
            assert_close(weights.sum(axis=2)[:, 0], totals.astype(float))


def test_texts_of_one_source_side_by_side_are_steps_of_their_own(layer):
    c = case(layer, "ragged")
    memory, state = layer.read(c.model.params, c.x.source, lengths=c.x.source_lengths, lexicon=c.x.lexicon)
    ids = np.random.default_rng(1).integers(0, W, (B, 3))
    wide = tree_map(lambda s: np.repeat(s, 3, axis=0), state)
    logits, end, _ = layer.step(c.model.params, ids, wide, memory)
    for k in range(3):
        one, one_end, _ = layer.step(c.model.params, ids[:, k : k + 1], state, memory)
        assert_close(logits[:, k], one[:, 0])
        assert_close(tree_map(lambda s, k=k: s[k::3], end), one_end)


def test_round_trip_through_a_file(layer):
    c = case(layer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.elman"
        c.model.save(path)
        again = elman.load(path)
    assert again.layer == layer
    assert_same(again(c.x).y, c.model(c.x).y)


def test_init_is_finite_and_learns_to_copy():
    layer = make(
        "general",
        Sequential(Embedding(V, 8), Bidirectional(GRU(8, 8))),
        Sequential(Embedding(W, 8), GRU(8, 16)),
        Linear(16, W),
        size=16,
    )
    model = layer.init(seed=1)
    rng = np.random.default_rng(0)

    def batches():
        while True:
            source = rng.integers(1, V, (16, 4))
            yield elman.Batch(Pair(source, np.concatenate([np.zeros((16, 1), int), source[:, :-1]], axis=1)), source)

    losses = [r.loss for r in elman.train(model, batches(), optimizer=elman.optim.Adam(1e-2), n_steps=200, clip_norm=1)]
    assert losses[0] > 1.5
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (
            lambda: make("dot", size=3, decoder=GRU(W, 5, token_input=True)),
            "dot needs queries and a memory of",
        ),
        (lambda: make("best"), "attention must be one of"),
        (lambda: make(encoder=Linear(2, 3)), "encoder must take token ids"),
        (lambda: make(decoder=Sequential(Embedding(W, 3))), "decoder must be causal and have a state"),
        (lambda: make(decoder=Bidirectional(GRU(W, 3, token_input=True))), "decoder must be causal"),
        (lambda: make(output=Linear(9, W)), "output takes 9 features, but gets 3"),
    ],
)
def test_what_does_not_fit_is_refused(make_it, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make_it()


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 3), int), r"x must be a Pair\(source, target, source_lengths\), got ndarray"),
        (Pair(np.zeros((2, 3), int), np.zeros((3, 3), int)), "2 rows of the source, but 3 of the target"),
        (Pair(np.full((2, 3), 99), np.zeros((2, 3), int)), "source: token ids must be 0 to 6, got 99"),
        (Pair(np.zeros((2, 3)), np.zeros((2, 3), int)), "source: x must hold integer token ids"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(x, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make().init()(x)


def test_a_gradient_that_is_not_finite_names_its_place():
    c = case(ZOO["lstm"]())
    c.model.params["decoder.4.weight_hh"][0, 0] = np.inf
    targets = np.zeros((B, S), int)
    with pytest.raises(FloatingPointError, match="not finite"):
        next(elman.train(c.model, [elman.Batch(c.x, targets)]))
