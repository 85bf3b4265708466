"""Cell arithmetic: cases that users of recurrent networks have stumbled over, with the right numbers."""

import numpy as np
import pytest

import elman
from elman.kernels import reference
from elman.kernels.spec import GRUState, LSTMState, RNNState
from tolerances import PRINTED

TYPES = {"float64": PRINTED, "float32": 1e-5}
X = np.array([[1.0], [-2.0], [0.5]])


def gru(reset_after=True, dtype="float64", bias_hh=(0, 0.2, -0.2, 0.1, 0.5, -0.4)):
    """Return the GRU of the cases, H = 2, with a distinct number in every place."""
    model = elman.GRU(1, 2, reset_after=reset_after).init(dtype=dtype)
    model.params["weight_ih"] = np.array([[0.5, -0.3, 0.2, 0.4, 0.7, -0.6]]).T
    model.params["weight_hh"] = [[0.1, 0.2], [-0.3, 0.4], [0.5, -0.1], [0.2, 0.3], [0.9, -0.8], [-0.5, 0.6]]
    model.params["bias_ih"] = [0.1, -0.1, 0.2, 0, 0.3, -0.2]
    model.params["bias_hh"] = bias_hh
    return model


def lstm(dtype="float64"):
    """Return the LSTM of the cases, H = 2, with one merged bias."""
    model = elman.LSTM(1, 2).init(dtype=dtype)
    model.params["weight_ih"] = np.array([[0.5, -0.4, 0.3, 0.2, 0.8, -0.7, 0.1, 0.6]]).T
    model.params["weight_hh"] = [
        *([0.1, -0.2], [0.3, 0.4], [-0.5, 0.2], [0.1, 0.1]),
        *([0.6, -0.3], [0.2, 0.5], [-0.1, 0.3], [0.4, -0.2]),
    ]
    model.params["bias_ih"] = [0.1, -0.2, 1, 0.9, -0.3, 0.2, 0.05, -0.15]
    model.params["bias_hh"] = 0
    return model


def rnn(dtype="float64", **options):
    """Return the simple recurrent network of the cases, H = 1."""
    model = elman.RNN(1, 1, **options).init(dtype=dtype)
    model.params["weight_ih"], model.params["weight_hh"] = 0.5, 0.8
    model.params["bias_ih"], model.params["bias_hh"] = 0.1, 0
    return model


def bidirectional(dtype="float64", **options):
    """Return the two-way network of the cases."""
    model = elman.Bidirectional(elman.RNN(1, 1, **options)).init(dtype=dtype)
    model.params.child("forward").flat[:] = rnn().params.flat
    model.params["reverse.weight_ih"], model.params["reverse.weight_hh"] = -0.4, 0.3
    model.params["reverse.bias_ih"], model.params["reverse.bias_hh"] = 0.25, 0
    return model


def near(actual, expected, tolerance=PRINTED):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


GRU_START = GRUState(np.array([[0.3, -0.4]]))
AFTER = [[0.556078, -0.557954], [-0.042755, 0.089411], [0.318801, -0.192451]]
BEFORE = [[0.560951, -0.589154], [0.175212, 0.023867], [0.478639, -0.292321]]
LSTM_H = [[0.155757, -0.099107], [-0.048698, 0.100209], [-0.031724, 0.161444]]
LSTM_C = [[0.298369, -0.163748], [-0.108322, 0.492605], [-0.059513, 0.316129]]


@pytest.mark.parametrize("dtype", TYPES)
def test_a1_reset_gate_after_or_before_the_product(dtype):
    after, state = gru(dtype=dtype)(X, GRU_START)
    near(after, AFTER, TYPES[dtype])
    near(state.h, AFTER[-1:], TYPES[dtype])
    near(gru(reset_after=False, dtype=dtype)(X, GRU_START).y, BEFORE, TYPES[dtype])


def test_a2_a_test_that_cannot_tell_the_two_forms_of_gru():
    for reset_after in (True, False):  # T = 1, h0 = 0, no recurrent bias: both forms are the same function
        near(gru(reset_after, bias_hh=0)(X[:1]).y, [[0.305637, -0.266486]])
    forms = []
    for reset_after in (True, False):  # H = 1 without recurrent bias: the same again, at every step
        model = elman.GRU(1, 1, reset_after=reset_after).init(seed=3, dtype="float64")
        forms.append(model(X).y)
    near(*forms, tolerance=1e-15)


@pytest.mark.parametrize("part", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_a2_a_test_that_can(part):
    # Any two gates swapped, and any one bias set to 0, must show in the numbers of A1.
    for first, second in ((0, 1), (0, 2), (1, 2)):
        model = gru()
        gates = model.params[part].reshape(3, 2, -1)
        gates[[first, second]] = gates[[second, first]]
        assert np.abs(model(X, GRU_START).y - AFTER).max() > 1e-3
    if part.startswith("bias"):
        for slot in np.flatnonzero(gru().params[part]):
            model = gru()
            model.params[part][slot] = 0
            assert np.abs(model(X, GRU_START).y - AFTER).max() > 1e-3


def test_a4_which_way_round_is_z():
    near(gru()(X, GRU_START).y, AFTER)
    swapped = gru()  # of a source with h = z n + (1 - z) h: its z is our 1 - z, so negate those rows
    for name in swapped.params:
        swapped.params[name][2:4] *= -1
    near(swapped(X, GRU_START).y, [[0.678223, -0.645257], [0.052130, -0.326387], [0.458282, -0.506991]])


@pytest.mark.parametrize("dtype", TYPES)
def test_lstm_of_the_cases(dtype):
    model = lstm(dtype)
    near(model(X).y, LSTM_H, TYPES[dtype])
    cells = [model(X[: t + 1]).state.c[0] for t in range(3)]
    near(cells, LSTM_C, TYPES[dtype])


def test_lstm_bias_may_be_split_between_the_two():
    for share in (0, 0.5, 1):
        model = lstm()
        model.params["bias_hh"] = share * model.params["bias_ih"]
        model.params["bias_ih"] = (1 - share) * model.params["bias_ih"]
        near(model(X).y, LSTM_H)
    twice = lstm()
    twice.params["bias_hh"] = twice.params["bias_ih"]
    near(twice(X).y[-1], [-0.181998, 0.207620])


@pytest.mark.parametrize("dtype", TYPES)
def test_a9_sigmoid_neither_overflows_nor_warns(dtype):
    x = np.array([-1e4, -745, -88.8, 0, 88.8, 1e4], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = reference.sigmoid(x)
        slope = reference.DERIVATIVES["sigmoid"](y)
    assert y.dtype == dtype
    assert (y[:3] >= 0).all()
    assert (y[:3] < 1e-37).all()
    assert y[3] == 0.5
    assert (y[4:] == 1).all()
    assert np.isfinite(slope).all()
    for x in np.linspace(-30, 30, 601).astype(dtype):
        y, mirrored = reference.sigmoid(np.array([x, -x], dtype))
        assert abs(y - (1 - mirrored)) <= 2 * np.finfo(dtype).eps
    assert np.isnan(reference.sigmoid(np.array([np.nan], dtype))).all()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1, 1e4, -1e4])
def test_a9_the_basic_example_stays_silent(dtype, scale):
    model = elman.RNN(5, 10, activation="sigmoid").init(seed=0, dtype=dtype)
    x = np.random.default_rng(0).random((20, 5)) * scale
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, state, tape = model.forward(x)
        grads = model.backward(tape, np.ones_like(y)).grads
    assert y.shape == (20, 10)
    assert state.h.shape == (1, 10)
    assert np.isfinite(y).all()
    assert np.isfinite(grads.flat).all()


@pytest.mark.parametrize("cell", [elman.RNN, elman.LSTM, elman.GRU])
def test_a10_the_next_layer_gets_h_and_not_c(cell):
    model = elman.stack(cell, [2, 3, 4]).init(seed=1, dtype="float64")
    x = np.random.default_rng(2).standard_normal((2, 5, 2))
    y, state = model(x)
    first = elman.Model(model.layer.layers[0], model.params.child("0"))
    second = elman.Model(model.layer.layers[1], model.params.child("1"))
    between = first(x)
    assert (second(between.y).y == y).all()
    assert (y[:, -1] == state[1].h).all()
    assert (between.y[:, -1] == state[0].h).all()
    if cell is elman.LSTM:
        assert np.abs(y[:, -1] - state[1].c).min() > 1e-6


def test_a12_gradient_that_arrives_through_the_last_state():
    start = LSTMState(np.array([[0.1, -0.2]]), np.array([[0.3, 0.4]]))
    model = lstm()
    _, _, tape = model.forward(X, start)
    ones, zeros = np.ones((1, 2)), np.zeros((1, 2))
    through_c = model.backward(tape, None, LSTMState(zeros, ones)).grads
    through_h = model.backward(tape, None, LSTMState(ones, zeros)).grads
    for name in ("bias_ih", "bias_hh"):
        near(
            through_c[name],
            [-0.100851, 0.067881, 0.180022, 0.200064, 0.857455, 0.616585, 0.005625, 0.008263],
        )
        near(
            through_h[name],
            [-0.055746, 0.027754, 0.097853, 0.085160, 0.457112, 0.262489, 0.025141, 0.112068],
        )
    last = np.zeros((3, 2))
    last[-1] = 1  # h_T is also the last output
    near(model.backward(tape, last).grads["bias_ih"], through_h["bias_ih"], 1e-15)
    assert not model.backward(tape, None).grads.flat.any()


def test_a13_backpropagation_through_time_by_hand_forgets_a_term():
    model = rnn()
    y, state, tape = model.forward(X, RNNState([[0.3]]))
    grads, _, d_state, _ = model.backward(tape, None, RNNState([[1.0]]))
    near(state.h, [[0.079770]])
    near(y[-1], [0.079770])
    near(grads["weight_ih"], [[-0.613385]])
    near(grads["weight_hh"], [[0.237139]])
    near(grads["bias_ih"], [1.996406])
    near(d_state.h, [[0.238756]])
