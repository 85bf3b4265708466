"""Both directions and variable length: cases that users have stumbled over, with the right numbers."""

import numpy as np
import pytest
from test_cases_a import GRU_START, TYPES, X, bidirectional, gru, lstm, near, rnn

import elman
from elman.kernels.spec import GRUState
from tolerances import assert_close, assert_same, exactly

BOTH = [[0.537050, 0.086056], [-0.438490, 0.787565], [-0.000792, 0.049958]]


@pytest.mark.parametrize("dtype", TYPES)
def test_b1_what_sits_where_in_a_bidirectional_output(dtype):
    model = bidirectional(dtype)
    y, state = model(X)
    near(y, BOTH, TYPES[dtype])
    forward, reverse = state
    near(forward.h, [[-0.000792]], TYPES[dtype])
    near(reverse.h, [[0.086056]], TYPES[dtype])  # not y[-1], where the reverse direction has seen one step only
    near(model.final_output(state), [[-0.000792, 0.086056]], TYPES[dtype])
    assert abs(y[-1, 1] - reverse.h[0, 0]) > 0.01


def test_b1_final_output_respects_lengths_and_stacks():
    model = elman.stack(elman.LSTM, [2, 3, 2], bidirectional=True).init(seed=1, dtype="float64")
    x = np.random.default_rng(3).standard_normal((3, 6, 2))
    lengths = [4, 6, 1]
    y, state = model(x, lengths=lengths)
    final = model.final_output(state)
    assert final.shape == (3, 4)
    for k, length in enumerate(lengths):
        assert_close(final[k], np.concatenate([y[k, length - 1, :2], y[k, 0, 2:]]))
    # layer-major, forward before reverse, in states as in the names of the parameters
    assert [type(pair) for pair in state] == [tuple, tuple]
    assert list(model.params)[:2] == ["0.forward.weight_ih", "0.forward.weight_hh"]
    assert list(model.params)[4] == "0.reverse.weight_ih"


def test_b3_padding_does_not_poison_the_reverse_pass():
    model = bidirectional()
    padded = np.concatenate([X, np.zeros((2, 1))])
    y, (forward, reverse) = model(padded, lengths=[3])
    near(y[:3], BOTH)
    assert not y[3:].any()
    near(forward.h, [[-0.000792]])
    near(reverse.h, [[0.086056]])
    wrong, (forward, _) = model(padded)  # what ignoring the lengths gives
    near(wrong[:3, 1], [0.089137, 0.797914, 0.142811])
    near(forward.h, [[0.177337]])


def test_b4_outputs_at_padded_steps_are_zero_or_hold():
    padded = np.concatenate([X, np.full((2, 1), np.nan)])
    zero = rnn()(padded, lengths=3)
    hold = rnn(padded_output="hold")(padded, lengths=3)
    assert not zero.y[3:].any()
    near(hold.y[3:], [[-0.000792]] * 2)
    for y, state in (zero, hold):
        near(y[:3, 0], [0.537050, -0.438490, -0.000792])
        near(state.h, [[-0.000792]])
    with pytest.raises(ValueError, match="padded_output must be one of 'zero', 'hold', got 'last'"):
        rnn(padded_output="last")


@pytest.mark.parametrize("reset_after", [True, False])
def test_b6_a_row_of_length_zero(reset_after):
    model = gru(reset_after)
    x = np.stack([X, np.full_like(X, np.nan), X])
    start = GRUState(np.repeat(GRU_START.h, 3, axis=0))
    y, state, tape = model.forward(x, start, lengths=[3, 0, 2])
    alone = model(X, GRU_START).y
    assert (state.h[1] == [0.3, -0.4]).all()
    assert not y[1].any()
    near(y[0], alone, 1e-15)
    near(y[2, :2], alone[:2], 1e-15)
    rng = np.random.default_rng(0)
    d_state = GRUState(rng.standard_normal((3, 2)))
    _, d_x, d_start, _ = model.backward(tape, rng.standard_normal((3, 3, 2)), d_state)
    assert not d_x[1].any()
    assert (d_start.h[1] == d_state.h[1]).all()
    assert d_x[0].all()


@pytest.mark.parametrize("two_ways", [False, True])
@pytest.mark.parametrize("cell", [elman.RNN, elman.LSTM, elman.GRU])
def test_b7_no_steps_and_no_rows(cell, two_ways):
    layer = elman.Bidirectional(cell(3, 4)) if two_ways else cell(3, 4)
    model = layer.init(seed=0)
    for B, T in ((2, 0), (0, 5), (0, 0)):
        y, state, tape = model.forward(np.zeros((B, T, 3)))
        assert y.shape == (B, T, 8 if two_ways else 4)
        assert_same(state, model.zero_state(B))
        grads, d_x, d_state, _ = model.backward(tape, np.ones_like(y))
        assert d_x.shape == (B, T, 3)
        assert not grads.flat.any()
        assert_same(d_state, model.zero_state(B))


def test_b9_lengths_in_any_order_and_of_any_integer_type():
    model = lstm()
    rng = np.random.default_rng(1)
    x, lengths = rng.standard_normal((4, 5, 1)), np.array([2, 5, 0, 3])
    d_y = rng.standard_normal((4, 5, 2))
    y, state, tape = model.forward(x, lengths=lengths)
    grads = model.backward(tape, d_y).grads
    for order in ([3, 1, 0, 2], [1, 3, 0, 2], [2, 0, 3, 1]):
        y_p, state_p, tape_p = model.forward(x[order], lengths=lengths[order])
        assert_close((y_p, state_p.h, state_p.c), (y[order], state.h[order], state.c[order]))
        assert_close(model.backward(tape_p, d_y[order]).grads, grads)
    kinds = ["int8", "uint8", "int16", "uint32", "int64", "uint64"]
    for same in (list(lengths), tuple(lengths), *(lengths.astype(kind) for kind in kinds)):
        assert_same(model(x, lengths=same), elman.layers.Output(y, state))


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        ([2, 6, 0, 3], "LSTM(input_size=1, hidden_size=2): lengths must be 0 to T = 5, got 6 in row 1"),
        ([2, 5, 0, -1], "LSTM(input_size=1, hidden_size=2): lengths must be 0 to T = 5, got -1 in row 3"),
        ([2, 5], "LSTM(input_size=1, hidden_size=2): lengths must be (4,), one a row of the batch, got (2,)"),
        (3, "LSTM(input_size=1, hidden_size=2): lengths must be (4,), one a row of the batch, got ()"),
    ],
)
def test_b9_lengths_out_of_range(lengths, sentence):
    with pytest.raises(ValueError, match=exactly(sentence)):
        lstm()(np.zeros((4, 5, 1)), lengths=lengths)


@pytest.mark.parametrize("lengths", [[2.0, 1.0], [True, False], ["2", "1"]])
def test_b9_lengths_that_are_no_integers(lengths):
    with pytest.raises(TypeError, match=r"lengths must be integers, got dtype"):
        lstm()(np.zeros((2, 5, 1)), lengths=lengths)


def test_b10_the_mean_is_over_the_valid_steps():
    y = np.array([1.0, 2, 3, 0, 0])[None, :, None]
    loss, d_y = elman.losses.mean_squared_error(y, np.zeros_like(y), lengths=[3])
    assert loss == pytest.approx(14 / 3, rel=1e-15)
    near(d_y[0, :, 0], [2 / 3, 4 / 3, 2, 0, 0])
    assert elman.losses.mean_squared_error(y, np.zeros_like(y)).value == pytest.approx(2.8)
    y[0, 3:] = np.nan
    assert elman.losses.mean_squared_error(y, np.zeros_like(y), lengths=[3]).value == loss


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "mean_squared_error", "mean_absolute_error"])
def test_b10_a_batch_without_a_valid_step(name):
    y = np.full((2, 3, 4), np.nan)
    targets = np.zeros((2, 3), int) if name == "cross_entropy" else np.zeros_like(y)
    with pytest.warns(UserWarning, match=f"{name}: no step is valid: the loss is 0 and so is its gradient"):
        loss, d_y = getattr(elman.losses, name)(y, targets, lengths=[0, 0])
    assert loss == 0
    assert not d_y.any()


def test_b10_metric_and_loss_agree():
    model = elman.Sequential(elman.GRU(2, 3), elman.Linear(3, 5)).init(seed=0)
    rng = np.random.default_rng(0)
    batches = [
        (rng.standard_normal((3, 4, 2)), rng.integers(0, 5, (3, 4)), lengths) for lengths in ([4, 0, 2], [1, 1, 4])
    ]
    losses, steps = [], []
    for x, targets, lengths in batches:
        losses.append(elman.losses.cross_entropy(model(x, lengths=lengths).y, targets, lengths=lengths).value)
        steps.append(sum(lengths))
    found = elman.evaluate(model, batches)
    assert found.tokens == 12
    assert found.loss == pytest.approx(np.dot(losses, steps) / 12, rel=1e-12)
