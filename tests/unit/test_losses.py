"""Losses: their formulas, their gradients, what counts and what does not."""

import math

import numpy as np
import pytest

import elman
from elman import losses
from tolerances import assert_close, assert_same, exactly

NAMES = ["cross_entropy", "binary_cross_entropy", "mean_squared_error", "mean_absolute_error"]
B, T, V = 3, 4, 5


def example(name, dtype="float64"):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((B, T, V)).astype(dtype)
    if name == "cross_entropy":
        return y, rng.integers(0, V, (B, T))
    return y, rng.random((B, T, V)).astype(dtype)


def by_hand(name, y, target):
    """Return the losses of one step, written as in a book."""
    if name == "cross_entropy":
        return [-y[target] + math.log(sum(math.exp(v) for v in y))]
    if name == "binary_cross_entropy":
        p = [1 / (1 + math.exp(-v)) for v in y]
        return [-t * math.log(q) - (1 - t) * math.log(1 - q) for q, t in zip(p, target, strict=True)]
    power = {"mean_squared_error": 2, "mean_absolute_error": 1}[name]
    return [abs(v - t) ** power for v, t in zip(y, target, strict=True)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_value(name, lengths):
    y, targets = example(name)
    valid = [(b, t) for b in range(B) for t in range(T if lengths is None else lengths[b])]
    each = [loss for b, t in valid for loss in by_hand(name, y[b, t], targets[b, t])]
    found = getattr(losses, name)(y, targets, lengths=lengths)
    assert isinstance(found.value, float)
    assert found.value == pytest.approx(np.mean(each), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_gradient(name, lengths):
    loss = getattr(losses, name)
    y, targets = example(name)
    direction = np.random.default_rng(1).standard_normal(y.shape)
    step = 1e-6
    up, down = (loss(y + s * direction, targets, lengths=lengths).value for s in (step, -step))
    exact = np.sum(loss(y, targets, lengths=lengths).d_y * direction)
    assert (up - down) / (2 * step) == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_padding_counts_for_nothing(name):
    loss = getattr(losses, name)
    y, targets = example(name)
    clean = loss(y, targets, lengths=[4, 0, 2])
    bad_y, bad_targets = y.copy(), targets.copy()
    padding = np.arange(T) >= np.array([4, 0, 2])[:, None]
    bad_y[padding] = np.nan
    bad_targets[padding] = -100 if name == "cross_entropy" else np.nan
    found = loss(bad_y, bad_targets, lengths=[4, 0, 2])
    assert found.value == clean.value
    assert_same(found.d_y, clean.d_y)
    assert not found.d_y[padding].any()


@pytest.mark.parametrize("name", NAMES)
def test_lists_are_padded_batches(name):
    loss = getattr(losses, name)
    y, targets = example(name)
    lengths = [4, 0, 2]
    whole = loss(y, targets, lengths=lengths)
    found = loss(
        [row[:n] for row, n in zip(y, lengths, strict=True)], [row[:n] for row, n in zip(targets, lengths, strict=True)]
    )
    assert found.value == pytest.approx(whole.value, rel=1e-14)
    assert_close(found.d_y, [row[:n] for row, n in zip(whole.d_y, lengths, strict=True)])


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_types(name):
    loss = getattr(losses, name)
    for dtype in ("float32", "float64"):
        y, targets = example(name, dtype)
        value, d_y = loss(y, targets)
        assert d_y.dtype == dtype
        assert d_y.shape == y.shape
        for shape in ((B * T, V), (B, T, 1, V)):  # axes before the last are all steps
            t = targets.reshape(shape[:-1] if name == "cross_entropy" else shape)
            again = loss(y.reshape(shape), t)
            assert again.value == pytest.approx(value)
            assert_close(again.d_y.reshape(y.shape), d_y)
    before = y.copy(), targets.copy()
    loss(y, targets, lengths=[1, 2, 3])
    assert_same((y, targets), before)


@pytest.mark.parametrize("name", NAMES[1:])
def test_lengths_go_with_outputs_without_an_axis_of_features(name):
    y, targets = (a[..., 0] for a in example(name))
    found = getattr(losses, name)(y, targets, lengths=[4, 0, 2])
    whole = getattr(losses, name)(y[..., None], targets[..., None], lengths=[4, 0, 2])
    assert found.value == whole.value
    assert_same(found.d_y, whole.d_y[..., 0])


@pytest.mark.parametrize("name", NAMES)
def test_read_only_outputs_of_a_model_are_enough(name):
    model = elman.Linear(2, V).init()
    y, _, tape = model.forward(np.ones((B, T, 2)))
    _, targets = example(name)
    assert model.backward(tape, getattr(losses, name)(y, targets).d_y).grads.flat.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_of_large_logits(dtype):
    y = np.array([[1e4, 0, -1e4], [3e38, 0, 0]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, d_y = losses.cross_entropy(y[:1], [0])
        assert value == 0
        assert not d_y.any()
        value, d_y = losses.cross_entropy(y[:1], [2])
        assert value == 2e4
        assert d_y.tolist() == [[1, 0, -1]]
        assert losses.cross_entropy(y[1:], [0]).value == 0


def test_cross_entropy_of_equal_logits_is_the_log_of_their_number():
    for V in (2, 10, 1000):
        value, d_y = losses.cross_entropy(np.full((4, V), 7.0), np.zeros(4, int))
        assert value == pytest.approx(np.log(V), rel=1e-12)
        assert d_y.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_of_large_logits(dtype):
    y = np.array([[1e4, -1e4, 1e4, -1e4]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, d_y = losses.binary_cross_entropy(y, np.array([[1, 0, 0, 1]]))
    assert value == 5000
    assert d_y.tolist() == [[0, 0, 0.25, -0.25]]


def test_mean_absolute_error_is_flat_at_its_least():
    value, d_y = losses.mean_absolute_error(np.array([[1.0, 2, 3]]), np.array([[1.0, 1, 5]]))
    assert value == 1
    assert_close(d_y, np.array([[0, 1 / 3, -1 / 3]]))


def test_targets_one_too_many_are_refused():
    y = np.zeros((2, 3, 5))
    for wrong in (5, -1, 10**6):
        targets = np.zeros((2, 3), int)
        targets[1, 2] = wrong
        sentence = f"cross_entropy: targets must be 0 to 4, one of the 5 outputs, got {wrong}"
        with pytest.raises(ValueError, match=exactly(sentence)):
            losses.cross_entropy(y, targets)


@pytest.mark.parametrize(
    ("action", "kind", "sentence"),
    [
        (
            lambda: losses.cross_entropy(np.zeros((2, 3, 5)), np.zeros((2, 4), int)),
            ValueError,
            "cross_entropy: targets must be (2, 3) for y (2, 3, 5), got (2, 4)",
        ),
        (
            lambda: losses.cross_entropy(np.zeros((2, 3, 5)), np.zeros((2, 3))),
            TypeError,
            "cross_entropy: targets must be integer ids, got dtype float64",
        ),
        (
            lambda: losses.cross_entropy(np.zeros((2, 3), int), np.zeros(2, int)),
            TypeError,
            "cross_entropy: y must hold floats, the outputs of a model, got dtype int64",
        ),
        (
            lambda: losses.mean_squared_error(np.zeros((2, 3, 1)), np.zeros((2, 3))),
            ValueError,
            "mean_squared_error: targets must be (2, 3, 1) for y (2, 3, 1), got (2, 3)",
        ),
        (
            lambda: losses.mean_squared_error(np.zeros((2, 3, 1)), np.zeros((2, 3, 1)), lengths=[4, 0]),
            ValueError,
            "mean_squared_error: lengths must be 0 to T = 3, got 4 in row 0",
        ),
        (
            lambda: losses.mean_squared_error(np.zeros(3), np.zeros(3), lengths=[3]),
            ValueError,
            "mean_squared_error: lengths go with y (B, T, ...), got (3,)",
        ),
        (
            lambda: losses.mean_absolute_error([np.zeros((2, 1))], [np.zeros((3, 1))]),
            ValueError,
            "mean_absolute_error: targets must be a list with the lengths of y",
        ),
        (
            lambda: losses.mean_squared_error(np.zeros((2, 1)), np.full((2, 1), "a")),
            TypeError,
            "mean_squared_error: targets must hold real numbers (bool, integer or float), got dtype <U1",
        ),
    ],
)
def test_sentences(action, kind, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        action()
    assert (type(caught.value), str(caught.value)) == (kind, sentence)


@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_label_smoothing_moves_a_share_of_the_target_to_all_outputs(lengths):
    y, targets = example("cross_entropy")
    valid = [(b, t) for b in range(B) for t in range(T if lengths is None else lengths[b])]
    each = [[by_hand("cross_entropy", y[b, t], k)[0] for k in (targets[b, t], *range(V))] for b, t in valid]
    wanted = np.mean([0.8 * of_target + 0.2 * np.mean(of_all) for of_target, *of_all in each])
    found = losses.cross_entropy(y, targets, lengths=lengths, label_smoothing=0.2)
    assert found.value == pytest.approx(wanted, rel=1e-12)
    assert losses.Smoothed(0.2)(y, targets, lengths=lengths).value == found.value
    direction = np.random.default_rng(1).standard_normal(y.shape)
    up, down = (
        losses.cross_entropy(y + s * direction, targets, lengths=lengths, label_smoothing=0.2).value
        for s in (1e-6, -1e-6)
    )
    assert (up - down) / 2e-6 == pytest.approx(np.sum(found.d_y * direction), rel=1e-7)


def test_cross_entropy_of_several_targets_a_step():
    rng = np.random.default_rng(0)
    y, targets = rng.standard_normal((B, T, 2, V)), rng.integers(0, V, (B, T, 2))
    lengths = [4, 0, 2]
    found = losses.cross_entropy(y, targets, lengths=lengths)
    parts = [losses.cross_entropy(y[:, :, k], targets[:, :, k], lengths=lengths) for k in range(2)]
    assert found.value == pytest.approx(np.mean([part.value for part in parts]), rel=1e-12)
    assert_close(found.d_y, np.stack([part.d_y for part in parts], axis=2) / 2)
    with pytest.raises(ValueError, match="lengths go with y"):
        losses.cross_entropy(y[0, :, 0], targets[0, :, 0], lengths=[1, 1, 1, 1])


def test_empty_batches_warn():
    for y in (np.zeros((0, 3, 5)), np.zeros((2, 0, 5)), []):
        targets = [] if isinstance(y, list) else np.zeros(y.shape[:2], int)
        with pytest.warns(UserWarning, match="no step is valid"):
            found = losses.cross_entropy(y, targets)
        assert found.value == 0
        assert len(found.d_y) == len(y)
