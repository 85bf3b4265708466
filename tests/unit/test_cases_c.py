"""State, streams and truncated backpropagation: cases that users have stumbled over, with the right numbers."""

import threading
import tracemalloc

import numpy as np
import pytest
from test_cases_a import LSTM_H, X, lstm, near

import elman
from elman.kernels.spec import LSTMState, RNNState
from tolerances import assert_close, assert_same, exactly


@pytest.mark.parametrize("cuts", [(1, 3), (2, 3), (1, 2, 3), (1, 1, 3), (0, 2, 3), (3, 3)])
def test_c1_step_is_forward_for_every_way_of_cutting(cuts):
    model = lstm()
    whole = model(X)
    outputs, state, start = [], None, 0
    for stop in cuts:
        y, state = model(X[start:stop], state)
        outputs.append(y)
        start = stop
    near(np.concatenate(outputs), LSTM_H)
    assert_close((np.concatenate(outputs), state), whole)


def test_c1_what_a_lost_state_gives():
    model = lstm()
    near(model(X[2:]).y[-1], [0.030659, -0.032073])
    state = model(X[:1]).state  # only h carried on, and c forgotten
    near(model(X[1:], LSTMState(state.h, np.zeros((1, 2)))).y[-1], [-0.117265, 0.191996])


@pytest.mark.parametrize(
    "layer",
    [
        elman.Bidirectional(elman.LSTM(2, 3)),
        elman.Sequential(elman.GRU(2, 2), elman.stack(elman.RNN, [2, 2], bidirectional=True)),
        elman.Residual(elman.GRU(2, 2, reverse=True)),
    ],
    ids=["bidirectional", "stack", "reverse"],
)
def test_c1_a_layer_that_needs_the_end_cannot_be_carried_on(layer):
    model = layer.init(seed=0)
    x = np.zeros((1, 4, 2))
    targets = np.zeros((1, 4, layer.out_size))
    batches = [elman.Batch(x, targets), elman.Batch(x, targets, reset=False)]
    sentence = "reads from the end of a sequence, so no state can be carried over"
    with pytest.raises(ValueError, match=f"train: step 2: .*{sentence}"):
        list(elman.train(model, batches, loss=elman.losses.mean_squared_error))
    with pytest.raises(ValueError, match=f"evaluate: .*{sentence}"):
        elman.evaluate(model, batches, loss=elman.losses.mean_squared_error)


def test_c2_no_state_survives_between_calls():
    model = elman.stack(elman.LSTM, [2, 3, 3]).init(seed=0)
    x = np.random.default_rng(0).standard_normal((2, 4, 2))
    first = model(x)
    _, state, tape = model.forward(x + 1)
    model.backward(tape, None, state)
    model(x * 9, state)
    assert_same(model(x), first)


def test_c2_training_between_two_predictions_leaves_no_trace_but_the_weights():
    model = elman.Sequential(elman.LSTM(2, 3), elman.Linear(3, 2)).init(seed=0)
    x = np.random.default_rng(0).standard_normal((2, 4, 2))
    first = model(x)
    batches = [elman.Batch(x, x, reset=k == 0) for k in range(3)]
    list(elman.train(model, batches, loss=elman.losses.mean_squared_error, optimizer=elman.optim.SGD(0.0)))
    assert_same(model(x), first)


def test_c2_streams_on_one_model_do_not_meet():
    model = elman.GRU(2, 5).init(seed=0)
    inputs = np.random.default_rng(0).standard_normal((4, 1, 60, 2))
    alone = [model(x) for x in inputs]
    found = [None] * 4

    def stream(k):
        outputs, state = [], None
        for t in range(60):
            y, state = model(inputs[k][:, t : t + 1], state)
            outputs.append(y)
        found[k] = elman.layers.Output(np.concatenate(outputs, axis=1), state)

    threads = [threading.Thread(target=stream, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_close(found, alone)


def test_c4_the_last_batch_is_smaller():
    model = elman.Sequential(elman.LSTM(2, 3), elman.Linear(3, 1)).init(seed=0)
    x = np.random.default_rng(0).standard_normal((10, 4, 2))
    sizes = [len(model(x[k : k + 4]).state[0].h) for k in range(0, 10, 4)]
    assert sizes == [4, 4, 2]
    state = model(x[:4]).state
    sentence = (
        "LSTM(input_size=2, hidden_size=3): state.h must be (B, H) = (2, 3), got (4, 3); "
        "x has 2 rows, the state was made for 4"
    )
    with pytest.raises(ValueError, match=exactly(sentence)):
        model(x[8:], state)


def test_c5_trained_with_many_rows_and_used_with_one(tmp_path):
    model = elman.Sequential(elman.GRU(2, 3), elman.Linear(3, 2)).init(seed=0)
    x = np.random.default_rng(0).standard_normal((32, 4, 2))
    list(elman.train(model, [(x, x)], loss=elman.losses.mean_squared_error))
    model.save(tmp_path / "m.elman")
    content = (tmp_path / "m.elman").read_bytes()
    assert b"32,4" not in content
    assert b"batch" not in content
    loaded = elman.load(tmp_path / "m.elman")
    assert_close(loaded(x[:1]).y, model(x).y[:1])
    assert_close(loaded(x[0]).y, model(x).y[0])


def test_c6_the_state_is_batch_first_and_has_no_other_axes():
    layer = elman.RNN(256, 512)
    model = elman.Model(layer, elman.Params(layer.shapes()))
    x = np.zeros((60, 8, 256), np.float32)
    y, state = model(x)
    assert y.shape == (60, 8, 512)
    assert state.h.shape == (60, 512)
    for shape in ((1, 60, 512), (60, 1, 512)):
        sentence = (
            f"RNN(input_size=256, hidden_size=512): state.h must be (B, H) = (60, 512), got {shape}; "
            "a state has no axis for layers or time: a stack takes a tuple with one state a layer"
        )
        with pytest.raises(ValueError, match=exactly(sentence)):
            model(x, RNNState(np.zeros(shape)))
    with pytest.raises(ValueError, match="x has 60 rows, the state was made for 8"):
        model(x, RNNState(np.zeros((8, 512))))


class Recorder(elman.optim.SGD):
    """An optimiser that changes nothing and remembers what it was given."""

    def _change(self, w, g, rate, n, *moments):
        seen.append(g.copy())


seen: list = []


@pytest.mark.parametrize(("k", "d_weight"), [(4, 2.75), (2, 2.5), (1, 1.75)])
def test_c8_truncation_cuts_the_gradient_and_not_the_state(k, d_weight):
    model = elman.RNN(1, 1, activation="relu", bias=False).init(dtype="float64")
    model.params["weight_ih"], model.params["weight_hh"] = 1.0, 0.5
    ends = []

    def last(y, targets, *, lengths):
        ends.extend(y[0, :, 0])
        d_y = np.zeros_like(y)
        d_y[:, -1] = 1
        return elman.losses.Loss(float(y[0, -1, 0]), d_y)

    batches = [elman.Batch(np.ones((1, k, 1)), None, reset=start == 0) for start in range(0, 4, k)]
    seen.clear()
    list(elman.train(model, batches, loss=last, optimizer=Recorder(0.0)))
    assert ends == [1, 1.5, 1.75, 1.875]
    assert elman.Params(model.params.shapes, seen[-1])["weight_hh"].item() == d_weight


def test_c8_memory_does_not_grow_with_the_stream():
    def peak(n_windows):
        model = elman.RNN(1, 64).init(seed=0)
        x = np.zeros((8, 20, 1), np.float32)
        targets = np.zeros((8, 20, 64))
        batches = (elman.Batch(x, targets, reset=k == 0) for k in range(n_windows))
        training = elman.train(model, batches, loss=elman.losses.mean_squared_error)
        next(training)
        tracemalloc.start()
        try:
            for _ in training:
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    one_window = 8 * 20 * 64 * 4
    assert peak(50) < peak(10) + 5 * one_window
