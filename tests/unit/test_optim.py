"""Optimisers, schedules and clipping, against formulas written out for single numbers."""

import math

import numpy as np
import pytest

import elman
from elman import optim
from tolerances import assert_close, assert_same, exactly

SHAPES = {"weight": (2, 3), "bias": (2,)}


def by_hand(optimizer, w, gradients, rates):
    """Return w after the updates, one number at a time, as the papers write them."""
    o = optimizer
    m = v = 0.0
    for n, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        match o:
            case optim.SGD():
                g = g + o.weight_decay * w
                v = o.momentum * v + g
                w = w - rate * (g + o.momentum * v if o.nesterov else v)
            case optim.Adam():
                if isinstance(o, optim.AdamW):
                    w = w - rate * o.weight_decay * w
                m = o.beta1 * m + (1 - o.beta1) * g
                v = o.beta2 * v + (1 - o.beta2) * g**2
                w = w - rate * (m / (1 - o.beta1**n)) / (math.sqrt(v / (1 - o.beta2**n)) + o.epsilon)
            case optim.RMSprop():
                v = o.decay * v + (1 - o.decay) * g**2
                w = w - rate * g / (math.sqrt(v) + o.epsilon)
            case optim.Adagrad():
                v = v + g**2
                w = w - rate * g / (math.sqrt(v) + o.epsilon)
    return w


SCHEDULE = optim.Warmup(optim.Cosine(0.1, total_steps=6), warmup_steps=2)
OPTIMIZERS = [
    optim.SGD(),
    optim.SGD(0.3),
    optim.SGD(0.1, momentum=0.9),
    optim.SGD(0.1, momentum=0.9, nesterov=True),
    optim.SGD(0.1, momentum=0.5, weight_decay=0.2),
    optim.SGD(SCHEDULE, momentum=0.5, nesterov=True, weight_decay=0.1),
    optim.Adam(),
    optim.Adam(0.1, beta1=0.5, beta2=0.7, epsilon=0.1),
    optim.Adam(SCHEDULE),
    optim.AdamW(),
    optim.AdamW(0.1, weight_decay=0.3),
    optim.RMSprop(),
    optim.RMSprop(0.1, decay=0.5, epsilon=0.01),
    optim.Adagrad(),
    optim.Adagrad(SCHEDULE, epsilon=0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formula(optimizer, dtype):
    rng = np.random.default_rng(0)
    params = elman.Params(SHAPES, rng.standard_normal(8).astype(dtype))
    gradients = rng.standard_normal((5, 8)).astype(dtype)
    rates = [optimizer.rate(step) for step in range(5)]
    expected = [by_hand(optimizer, float(w), gradients[:, k].tolist(), rates) for k, w in enumerate(params.flat)]
    state = optimizer.init(params)
    assert state.step == 0
    assert not any(moment.flat.any() for moment in state.moments)
    for k, gradient in enumerate(gradients):
        grads = elman.Params(SHAPES, gradient.copy())
        state = optimizer.update(params, grads, state)
        assert state.step == k + 1
        assert_same(grads.flat, gradient)  # gradients stay as they are
    assert_close(params.flat, np.array(expected, dtype))
    assert params.dtype == dtype
    assert len(state.moments) == optimizer.n_moments
    assert all(moment.dtype == dtype for moment in state.moments)


def test_values_that_are_not_given():
    assert repr(optim.SGD()) == "SGD(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)"
    assert repr(optim.Adam()) == "Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)"
    assert repr(optim.AdamW()) == "AdamW(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.01)"
    assert repr(optim.RMSprop()) == "RMSprop(learning_rate=0.01, decay=0.99, epsilon=1e-08)"
    assert repr(optim.Adagrad()) == "Adagrad(learning_rate=0.01, epsilon=1e-10)"
    assert repr(optim.StepDecay(1.0, every_steps=2)) == "StepDecay(rate=1.0, every_steps=2, factor=0.5)"
    assert repr(optim.Cosine(1.0, total_steps=2)) == "Cosine(rate=1.0, total_steps=2, final=0.0)"


@pytest.mark.parametrize("optimizer", [optim.SGD(0.05), optim.SGD(0.02, momentum=0.9, nesterov=True), optim.Adam(0.1)])
def test_optimizers_find_the_least_of_a_bowl(optimizer):
    params = elman.Params({"w": (3,)}, np.array([3.0, -2, 1]))
    state = optimizer.init(params)
    for _ in range(300):
        state = optimizer.update(params, elman.Params({"w": (3,)}, params.flat * [1, 4, 9]), state)
    assert np.abs(params.flat).max() < 1e-3


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (lambda: optim.SGD(-0.1), "SGD: learning_rate must be at least 0, got -0.1"),
        (lambda: optim.Adam(math.nan), "Adam: learning_rate must be at least 0, got nan"),
        (lambda: optim.SGD(0.1, nesterov=True), "SGD: nesterov needs a momentum above 0"),
        (lambda: optim.clip_by_global_norm([np.ones(2)], 0), "clip_by_global_norm: max_norm must be above 0, got 0"),
        (lambda: optim.clip_by_value([np.ones(2)], -1.0), "clip_by_value: max_value must be above 0, got -1.0"),
        (
            lambda: optim.clip_per_parameter([np.ones(2)], math.nan),
            "clip_per_parameter: max_norm must be above 0, got nan",
        ),
    ],
)
def test_sentences(action, sentence):
    with pytest.raises(ValueError, match=exactly(sentence)):
        action()


# ------------------------------------------------------------------------------------------------------ schedules


def test_schedules():
    assert [optim.Constant(0.5)(step) for step in (0, 9)] == [0.5, 0.5]
    decay = optim.StepDecay(1.0, every_steps=3, factor=0.1)
    assert [decay(step) for step in range(7)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    cosine = optim.Cosine(1.0, total_steps=4, final=0.2)
    half = 0.4 * math.sqrt(0.5)
    assert [cosine(step) for step in range(6)] == pytest.approx([1, 0.6 + half, 0.6, 0.6 - half, 0.2, 0.2])
    warm = optim.Warmup(decay, warmup_steps=4)
    assert [warm(step) for step in range(8)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 0.1])
    assert optim.Warmup(decay, warmup_steps=0)(0) == 1


def test_rates_of_optimizers():
    assert optim.SGD(0.25).rate(7) == 0.25
    assert optim.Adam(optim.Constant(0.5)).rate(7) == 0.5
    assert optim.Adam(optim.StepDecay(1.0, every_steps=1)).rate(3) == 0.125


# ------------------------------------------------------------------------------------------------------- clipping


def gradients():
    return elman.Params({"a": (2,), "b": {"c": (1, 2)}}, np.array([3.0, 0, 0, 4]))


def test_clip_by_global_norm():
    grads = gradients()
    assert optim.clip_by_global_norm(grads, 10) == (5, 5, ())
    assert grads.flat.tolist() == [3, 0, 0, 4]
    assert optim.clip_by_global_norm(grads, 1) == (5, 1, ())
    assert_close(grads.flat, np.array([0.6, 0, 0, 0.8]))
    assert optim.clip_by_global_norm(gradients(), math.inf) == (5, 5, ())


def test_clip_by_value():
    grads = gradients()
    grads.flat[1] = -7
    found = optim.clip_by_value(grads, 3.5)
    assert grads.flat.tolist() == [3, -3.5, 0, 3.5]
    assert found == (pytest.approx(math.sqrt(74)), pytest.approx(math.sqrt(9 + 2 * 3.5**2)), ())


def test_clip_per_parameter():
    grads = gradients()
    found = optim.clip_per_parameter(grads, 3.5)
    assert_close(grads.flat, np.array([3, 0, 0, 3.5]))
    assert found == (5, pytest.approx(math.sqrt(9 + 3.5**2)), ())


@pytest.mark.parametrize("clip", [optim.clip_by_global_norm, optim.clip_by_value, optim.clip_per_parameter])
def test_clipping_takes_trees_dicts_and_iterables(clip):
    expected = gradients()
    found = clip(expected, 1.0)
    arrays = dict(gradients())
    assert clip(arrays, 1.0) == found
    assert_same(list(arrays.values()), list(expected.values()))
    for make in (list, tuple, iter):
        arrays = list(gradients().values())
        assert clip(make(arrays), 1.0) == found
        assert_same(arrays, list(expected.values()))
    bad = gradients()
    bad["b.c"][0, 1] = np.nan
    assert clip(bad, 1.0).nonfinite == ("b.c",)
    assert clip(list(bad.values()), 1.0).nonfinite == ("1",)
    assert clip([np.zeros((0, 3)), np.zeros(2)], 1.0) == (0, 0, ())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_global_norm_at_the_ends_of_the_range(dtype):
    largest, least = np.finfo(dtype).max / 2, np.finfo(dtype).tiny * 2
    for size in (1e-30, 1.0, 1e30, float(largest), float(least)):
        array = np.full(25, size, dtype)
        assert optim.global_norm([array[:9], array[9:]]) == pytest.approx(5 * size, rel=1e-6)
    assert optim.global_norm([np.zeros(3, dtype)]) == 0
    assert optim.global_norm([]) == 0
    assert optim.global_norm([np.array([1, np.inf], dtype)]) == math.inf
    assert optim.global_norm([np.array([1, -np.inf], dtype)]) == math.inf
    assert math.isnan(optim.global_norm([np.array([1, np.nan, np.inf], dtype)]))
    assert math.isnan(optim.global_norm([np.array([1e30, np.nan], dtype)]))


def test_the_norm_is_summed_in_double():
    assert optim.global_norm([np.full(100_000, 0.1, np.float32)]) == pytest.approx(
        math.sqrt(100_000) * float(np.float32(0.1)), rel=1e-12
    )
